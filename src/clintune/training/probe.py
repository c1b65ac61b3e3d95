"""The linear probe of frozen encoders and facts: penalised linear models.

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
from safetensors.torch import load_file
from torch import Tensor

from clintune.cohort.samples import Samples
from clintune.cohort.splits import assign_balanced
from clintune.contracts import Tokens
from clintune.core.locks import exclusive_lock
from clintune.core.seeding import generator
from clintune.features.batching import Batches, sequential_batches
from clintune.features.pieces import PieceSource
from clintune.features.sealed import drop, is_intact, save_sealed
from clintune.modalities.base import Modality
from clintune.model.fusion import skip_features
from clintune.package.contents import Package
from clintune.tasks import linear
from clintune.tasks.linear import PENALTIES, LinearModel

NUM_FOLDS = 4
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
    pooled = pooled_embeddings(
        {name: package.model.encoders[name] for name in names}, samples, caches, rows
    )
    features = torch.cat([pooled[name] for name in names], dim=1).double()
    widths = [pooled[name].shape[1] for name in names]
    choices = column_choices([package.model.encoders[name].probe_choices for name in names], widths)
    for task, head in heads.items():
        targets = torch.from_numpy(samples.targets(task)[rows]).double()
        assert head.probe_bias is not None
        for kind, target, outputs in package.tasks[task].linear_models(targets):
            known = ~target.isnan().reshape(len(target), -1).any(dim=1)
            subject = samples.subject[rows][known]
            fold = subject_folds(subject, target[known].float().numpy(), seed)
            weight = (
                subject_weights(subject)
                if package.config.per_subject
                else torch.ones(len(subject)).double()
            )
            weights, bias = remembered_fit(
                kind, features[known], target[known], weight, choices, fold, cache
            )
            head.probe_bias[outputs] = bias.float()
            for name, part in zip(names, torch.split(weights, widths, dim=1), strict=True):
                head.skip[name].get_parameter("weight").data[outputs] = part.float()
    package.model.mask_unselected_features()


def pooled_embeddings(
    modalities: Mapping[str, Modality],
    samples: Samples,
    caches: Mapping[str, PieceSource],
    rows: NDArray[np.int64],
) -> dict[str, Tensor]:
    """Return what the probe reads of each modality [N, W] in its plain view, on the CPU; zeros where there is none."""
    pooled: dict[str, list[Tensor]] = {name: [] for name in modalities}
    batches = Batches(samples, modalities, caches)
    for draw in sequential_batches(rows, _BATCH):
        batch = batches[draw]
        for name, modality in modalities.items():
            if name in batch.pieces:
                part = batch.pieces[name]
                tokens = None if part.encoded is None else Tokens.of_pieces(part.encoded, part)
                pooled[name].append(skip_features(modality, part, tokens, len(batch), probe=True))
            else:
                pooled[name].append(torch.zeros(len(batch), modality.probe_width))
    return {name: torch.cat(parts) for name, parts in pooled.items()}


def column_choices(
    choices: Sequence[Sequence[Sequence[int]]], widths: Sequence[int]
) -> list[list[int]]:
    """Combine the choices of every modality into choices of columns of all of them side by side."""
    starts = np.cumsum([0, *widths])
    shifted = [
        [[int(start) + column for column in choice] for choice in part]
        for start, part in zip(starts, choices, strict=False)
    ]
    return [
        [column for choice in combination for column in choice] for combination in product(*shifted)
    ]


def subject_folds(subject: NDArray[np.int64], targets: NDArray[np.float32], seed: int) -> Tensor:
    """Deal subjects into folds, those ever positive and the others evenly; returns the fold of each sample [N]."""
    distinct, number = np.unique(subject, return_inverse=True)
    draws = torch.randperm(len(distinct), generator=generator(seed, "probe folds")).double().numpy()
    return torch.from_numpy(assign_balanced(number, draws, NUM_FOLDS, targets))


def subject_weights(subject: NDArray[np.int64]) -> Tensor:
    """Return weights [N] of mean one that give every subject the same sum."""
    _, number, counts = np.unique(subject, return_inverse=True, return_counts=True)
    return torch.from_numpy(len(subject) / len(counts) / counts[number])


def remembered_fit(
    kind: LinearModel,
    features: Tensor,
    targets: Tensor,
    weight: Tensor,
    choices: Sequence[Sequence[int]],
    fold: Tensor,
    cache: Path,
) -> tuple[Tensor, Tensor]:
    """Return `fit_output` of the same arguments, from `cache` where they were fitted before; others wait for the first.

    The key holds every argument and how it is fitted.
    """
    digest = sha256(json.dumps([repr(kind), *map(list, choices)]).encode())
    for file in (__file__, linear.__file__):
        digest.update(Path(file).read_bytes())
    for tensor in (features, targets, weight, fold):
        digest.update(tensor.numpy().tobytes())
    path = cache / "statistics" / f"probe-{digest.hexdigest()[:32]}.safetensors"
    with exclusive_lock(path, "a probe"):
        if path.exists() and not is_intact(path):
            drop(path)
        if not path.exists():
            weights, bias = fit_output(kind, features, targets, weight, choices, fold)
            save_sealed(path, {"weights": weights, "bias": bias})

        os.utime(path)
        found = load_file(path)
    return found["weights"], found["bias"]


def fit_output(
    kind: LinearModel,
    features: Tensor,
    targets: Tensor,
    weight: Tensor,
    choices: Sequence[Sequence[int]],
    fold: Tensor,
) -> tuple[Tensor, Tensor]:
    """Choose columns and penalty with the least loss over the folds, then fit on everything.

    Returns weights [K, W], zero outside the chosen columns and where a column is always zero, and biases [K].
    """
    losses = torch.stack(
        [
            validation_losses(kind, features[:, columns], targets, weight, fold)
            for columns in choices
        ]
    )
    choice, penalty = divmod(int(losses.argmin()), len(PENALTIES))
    columns = [column for column in choices[choice] if features[:, column].any()]
    chosen, bias = kind.path(features[:, columns], targets, weight)[penalty]
    weights = torch.zeros(len(chosen), features.shape[1], dtype=features.dtype)
    weights[:, columns] = chosen
    return weights, bias


def validation_losses(
    kind: LinearModel, features: Tensor, targets: Tensor, weight: Tensor, fold: Tensor
) -> Tensor:
    """Return the loss, summed over the folds' held-out rows, for each penalty; folds of one answer train nothing."""
    losses = torch.zeros(len(PENALTIES), dtype=torch.float64)
    for held_out in range(NUM_FOLDS):
        train, test = fold != held_out, fold == held_out
        if not test.any() or not kind.can_learn(targets[train]):
            continue
        for i, (weights, bias) in enumerate(
            kind.path(features[train], targets[train], weight[train])
        ):
            losses[i] += kind.loss(features[test] @ weights.T + bias, targets[test], weight[test])
    return losses
