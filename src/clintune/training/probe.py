"""The linear probe of frozen encoders and facts: penalised logistic regressions, the penalty chosen by subject."""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clintune.cohort.samples import Samples
from clintune.core.errors import ConfigError
from clintune.core.seeding import generator
from clintune.model.batching import Batches
from clintune.model.cache import PieceCache
from clintune.model.fusion import skip_features
from clintune.package import Package
from clintune.training.order import inference_draws

PENALTIES = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
"""C, the inverse of the penalty, over pooled embeddings of about unit length."""
NUM_FOLDS = 4
_NEWTON_STEPS = 12
_BATCH = 64


def fit_probe(
    package: Package, samples: Samples, caches: Mapping[str, PieceCache], rows: NDArray[np.int64], seed: int
) -> None:
    """Fit the probes of every head on the training samples `rows` and put them into the model.

    Raises ConfigError for a task whose targets are not one yes or no an output.
    """
    heads = package.model.task_heads
    names = list(next(iter(heads.values())).skip)
    pooled = pooled_embeddings(package, samples, caches, rows, names)
    features = torch.cat([pooled[name] for name in names], dim=1).double()
    widths = [pooled[name].shape[1] for name in names]
    fold = subject_folds(samples.subject[rows], seed)
    for task, head in heads.items():
        targets = torch.from_numpy(samples.targets(task)[rows])
        if targets.shape[1] != package.tasks[task].num_outputs:
            raise ConfigError(f"model.skip=probe serves binary and multilabel tasks, not tasks.{task}; use trained")
        assert head.probe_bias is not None
        for output in range(targets.shape[1]):
            known = ~targets[:, output].isnan()
            weights, bias = fit_output(features[known], targets[known, output].double(), fold[known])
            head.probe_bias[output] = bias
            for name, part in zip(names, torch.split(weights, widths), strict=True):
                head.skip.get_submodule(name).get_parameter("weight").data[output] = part.float()


def pooled_embeddings(
    package: Package, samples: Samples, caches: Mapping[str, PieceCache], rows: NDArray[np.int64], names: list[str]
) -> dict[str, Tensor]:
    """Return what the probe reads of each modality [N, W] in its plain view, on the CPU."""
    modalities = {name: package.model.encoders[name] for name in names}
    pooled: dict[str, list[Tensor]] = {name: [] for name in names}
    batches = Batches(inference_draws(rows, _BATCH), samples, modalities, caches)
    for number in range(len(batches)):
        batch = batches[number]
        for name, modality in modalities.items():
            if name in batch.pieces:
                part = batch.pieces[name]
                tokens = part.tensors.get("tokens", part.hours)
                pooled[name].append(skip_features(modality, part, tokens, len(batch), probe=True))
            else:
                pooled[name].append(torch.zeros(len(batch), modality.num_facts or modality.width))
    return {name: torch.cat(parts) for name, parts in pooled.items()}


def subject_folds(subject: NDArray[np.int64], seed: int) -> Tensor:
    """Deal subjects [N] into folds; returns the fold of each sample."""
    distinct, number = np.unique(subject, return_inverse=True)
    order = torch.randperm(len(distinct), generator=generator(seed, "probe folds"))
    return (torch.argsort(order) % NUM_FOLDS)[torch.from_numpy(number)]


def fit_output(features: Tensor, targets: Tensor, fold: Tensor) -> tuple[Tensor, float]:
    """Choose the penalty with the least log loss over the folds, then fit on everything: weights [W] and bias."""
    losses = torch.zeros(len(PENALTIES), dtype=torch.float64)
    for held_out in range(NUM_FOLDS):
        train, test = fold != held_out, fold == held_out
        if not test.any() or targets[train].min() == targets[train].max():
            continue
        for i, (weights, bias) in enumerate(logistic_path(features[train], targets[train])):
            logits = features[test] @ weights + bias
            losses[i] += torch.nn.functional.binary_cross_entropy_with_logits(logits, targets[test], reduction="sum")
    return list(logistic_path(features, targets))[int(losses.argmin())]


def logistic_path(features: Tensor, targets: Tensor) -> list[tuple[Tensor, float]]:
    """Fit penalised logistic regressions for every C of `PENALTIES`, each started from the one before.

    Minimises C times the sum of log losses plus half the squared length of the weights, the bias free; by Newton's
    method in the row space of the features, where the solution lies.
    """
    left, singular, right = torch.linalg.svd(features, full_matrices=False)
    rows = torch.cat([left * singular, torch.ones(len(features), 1, dtype=features.dtype)], dim=1)
    penalty = torch.ones(rows.shape[1], dtype=features.dtype)
    penalty[-1] = 1e-6
    solution = torch.zeros(rows.shape[1], dtype=features.dtype)
    path = []
    for inverse in PENALTIES:
        for _ in range(_NEWTON_STEPS):
            chance = torch.sigmoid(rows @ solution)
            gradient = inverse * rows.T @ (chance - targets) + penalty * solution
            curvature = inverse * rows.T @ (rows * (chance * (1 - chance))[:, None]) + torch.diag(penalty)
            step = torch.linalg.solve(curvature, gradient)
            solution = solution - step
            if step.abs().max() < 1e-8:
                break
        path.append((right.T @ solution[:-1], float(solution[-1])))
    return path
