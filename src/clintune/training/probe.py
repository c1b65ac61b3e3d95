"""The linear probe of frozen encoders and facts: penalised logistic regression.

Which features it reads, where a modality leaves a choice, and the penalty are chosen in folds of the training subjects.
"""

import json
import os
from collections.abc import Mapping, Sequence
from hashlib import sha256
from itertools import product
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from omegaconf import DictConfig
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from clintune.cohort.samples import Samples
from clintune.cohort.splits import deal
from clintune.core.errors import ConfigError
from clintune.core.files import atomic_path
from clintune.core.locks import only_one
from clintune.core.seeding import generator
from clintune.modalities.base import Modality
from clintune.model.batching import Batches
from clintune.model.fusion import skip_features
from clintune.model.pieces import PieceSource
from clintune.package.contents import Package
from clintune.tasks.base import Task
from clintune.training.order import inference_draws

PENALTIES = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
"""C, the inverse of the penalty, over pooled embeddings of about unit length."""
NUM_FOLDS = 4
_NEWTON_STEPS = 12
_BATCH = 64


def fit_probe(
    package: Package,
    samples: Samples,
    caches: Mapping[str, PieceSource],
    rows: NDArray[np.int64],
    seed: int,
    cache: Path,
) -> None:
    """Fit the probes of every head on the training samples `rows` and put them into the model.

    What was fitted before is read from `cache`: by other members, processes and starts.

    Where the run scores subjects (`per_subject`), each counts once, however many samples it has.
    """
    heads = package.model.task_heads
    names = list(next(iter(heads.values())).skip)
    pooled = pooled_embeddings({name: package.model.encoders[name] for name in names}, samples, caches, rows)
    features = torch.cat([pooled[name] for name in names], dim=1).double()
    widths = [pooled[name].shape[1] for name in names]
    choices = column_choices([package.model.encoders[name].probe_choices for name in names], widths)
    for task, head in heads.items():
        targets = torch.from_numpy(samples.targets(task)[rows]).double()
        assert head.probe_bias is not None
        for output, target in enumerate(targets.T):
            known = ~target.isnan()
            subject = samples.subject[rows][known]
            fold = subject_folds(subject, target[known].float().numpy(), seed)
            weight = subject_weights(subject) if package.config.per_subject else torch.ones(len(subject)).double()
            weights, bias = remembered_fit(features[known], target[known], weight, choices, fold, cache)
            head.probe_bias[output] = bias
            for name, part in zip(names, torch.split(weights, widths), strict=True):
                head.skip.get_submodule(name).get_parameter("weight").data[output] = part.float()
    package.model.keep_choice()


def check_probe(config: DictConfig, samples: Samples, tasks: Mapping[str, Task]) -> None:
    """Raise ConfigError for a probe of a task whose targets are not one yes or no an output."""
    for name, task in tasks.items():
        if config.model.skip == "probe" and samples.targets(name).shape[1] != task.num_outputs:
            raise ConfigError(f"model.skip=probe serves binary and multilabel tasks, not tasks.{name}; use trained")


def pooled_embeddings(
    modalities: Mapping[str, Modality], samples: Samples, caches: Mapping[str, PieceSource], rows: NDArray[np.int64]
) -> dict[str, Tensor]:
    """Return what the probe reads of each modality [N, W] in its plain view, on the CPU; zeros where there is none."""
    pooled: dict[str, list[Tensor]] = {name: [] for name in modalities}
    batches = Batches(samples, modalities, caches)
    for draw in inference_draws(rows, _BATCH):
        batch = batches[draw]
        for name, modality in modalities.items():
            if name in batch.pieces:
                part = batch.pieces[name]
                tokens = part.tensors.get("tokens", part.hours)
                pooled[name].append(skip_features(modality, part, tokens, len(batch), probe=True))
            else:
                pooled[name].append(torch.zeros(len(batch), modality.probe_width))
    return {name: torch.cat(parts) for name, parts in pooled.items()}


def column_choices(choices: Sequence[Sequence[Sequence[int]]], widths: Sequence[int]) -> list[list[int]]:
    """Combine the choices of every modality into choices of columns of all of them side by side."""
    starts = np.cumsum([0, *widths])
    shifted = [
        [[int(start) + column for column in choice] for choice in part]
        for start, part in zip(starts, choices, strict=False)
    ]
    return [[column for choice in combination for column in choice] for combination in product(*shifted)]


def subject_folds(subject: NDArray[np.int64], targets: NDArray[np.float32], seed: int) -> Tensor:
    """Deal subjects into folds, those ever positive and the others evenly; returns the fold of each sample [N]."""
    distinct, number = np.unique(subject, return_inverse=True)
    draws = torch.randperm(len(distinct), generator=generator(seed, "probe folds")).double().numpy()
    return torch.from_numpy(deal(number, draws, NUM_FOLDS, targets))


def subject_weights(subject: NDArray[np.int64]) -> Tensor:
    """Return weights [N] of mean one that give every subject the same sum."""
    _, number, counts = np.unique(subject, return_inverse=True, return_counts=True)
    return torch.from_numpy(len(subject) / len(counts) / counts[number])


def remembered_fit(
    features: Tensor, targets: Tensor, weight: Tensor, choices: Sequence[Sequence[int]], fold: Tensor, cache: Path
) -> tuple[Tensor, float]:
    """Return `fit_output` of the same arguments, from `cache` where they were fitted before; others wait for the first.

    The key holds every argument and this file.
    """
    digest = sha256(Path(__file__).read_bytes() + json.dumps(list(map(list, choices))).encode())
    for tensor in (features, targets, weight, fold):
        digest.update(tensor.numpy().tobytes())
    path = cache / "statistics" / f"probe-{digest.hexdigest()[:32]}.safetensors"
    with only_one(path, "a probe"):
        if not path.exists():
            weights, bias = fit_output(features, targets, weight, choices, fold)
            with atomic_path(path) as partial:
                save_file({"weights": weights, "bias": torch.tensor(bias, dtype=torch.float64)}, partial)
        os.utime(path)
        found = load_file(path)
    return found["weights"], float(found["bias"])


def fit_output(
    features: Tensor, targets: Tensor, weight: Tensor, choices: Sequence[Sequence[int]], fold: Tensor
) -> tuple[Tensor, float]:
    """Choose columns and penalty with the least log loss over the folds, then fit on everything.

    Returns weights [W], zero outside the chosen columns and where a column is always zero, and bias.
    """
    losses = torch.stack([validation_losses(features[:, columns], targets, weight, fold) for columns in choices])
    choice, penalty = divmod(int(losses.argmin()), len(PENALTIES))
    weights = torch.zeros(features.shape[1], dtype=features.dtype)
    columns = [column for column in choices[choice] if features[:, column].any()]
    weights[columns], bias = logistic_path(features[:, columns], targets, weight)[penalty]
    return weights, bias


def validation_losses(features: Tensor, targets: Tensor, weight: Tensor, fold: Tensor) -> Tensor:
    """Return the log loss, summed over the folds' held-out rows, for each penalty; folds of one class train nothing."""
    losses = torch.zeros(len(PENALTIES), dtype=torch.float64)
    for held_out in range(NUM_FOLDS):
        train, test = fold != held_out, fold == held_out
        if not test.any() or targets[train].min() == targets[train].max():
            continue
        for i, (weights, bias) in enumerate(logistic_path(features[train], targets[train], weight[train])):
            logits = features[test] @ weights + bias
            losses[i] += binary_cross_entropy_with_logits(logits, targets[test], weight[test], reduction="sum")
    return losses


def logistic_path(features: Tensor, targets: Tensor, weight: Tensor) -> list[tuple[Tensor, float]]:
    """Fit penalised logistic regressions for every C of `PENALTIES`, each started from the one before.

    Minimises C times the weighted sum of log losses plus half the squared length of the weights, the bias free; by
    Newton's method in the row space of the features, where the solution lies.
    """
    rows, basis = _row_space(features)
    rows = torch.cat([rows, torch.ones(len(features), 1, dtype=features.dtype)], dim=1)
    penalty = torch.ones(rows.shape[1], dtype=features.dtype)
    penalty[-1] = 1e-6
    solution = torch.zeros(rows.shape[1], dtype=features.dtype)
    path = []
    for inverse in PENALTIES:
        for _ in range(_NEWTON_STEPS):
            chance = torch.sigmoid(rows @ solution)
            gradient = inverse * rows.T @ (weight * (chance - targets)) + penalty * solution
            curvature = inverse * rows.T @ (rows * (weight * chance * (1 - chance))[:, None]) + torch.diag(penalty)
            step = torch.linalg.solve(curvature, gradient)
            solution = solution - step
            if step.abs().max() < 1e-8:
                break
        path.append((basis @ solution[:-1], float(solution[-1])))
    return path


def _row_space(features: Tensor) -> tuple[Tensor, Tensor]:
    """Return coordinates [N, R] of the rows and the orthonormal basis [W, R] they are in, R the rank."""
    wide = features.shape[0] < features.shape[1]
    values, vectors = torch.linalg.eigh(features @ features.T if wide else features.T @ features)
    kept = values > 1e-12 * values[-1]
    basis = features.T @ vectors[:, kept] / values[kept].sqrt() if wide else vectors[:, kept]
    return features @ basis, basis
