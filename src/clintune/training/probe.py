"""The probe of frozen encoders and facts: penalised linear models, and trees beside them where a
recipe wants them.

Which features it reads, where a modality leaves a choice, and the penalty are chosen in folds of
the training subjects.
"""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor

from clintune.cohort.samples import Samples
from clintune.cohort.splits import assign_balanced, linked_numbers
from clintune.contracts import Tokens
from clintune.core.locks import exclusive_lock
from clintune.core.seeding import generator
from clintune.features.batching import Batches, sequential_batches
from clintune.features.pieces import PieceSource
from clintune.features.sealed import drop, is_intact, save_sealed
from clintune.modalities.base import Modality
from clintune.model import trees
from clintune.model.heads import Head, readout_features
from clintune.model.trees import tree_columns
from clintune.package.contents import Package
from clintune.tasks import linear as linear_models
from clintune.tasks.linear import PENALTIES, LinearModel
from clintune.training import boosting
from clintune.training.boosting import Boosted, Fitting, Part

NUM_FOLDS = 4
_BATCH = 64


class Linear(NamedTuple):
    """A linear model with K outputs: weights [K, W] and biases [K], or those of F folds, each
    fitted without one.
    """

    weights: Tensor
    bias: Tensor

    def __call__(self, features: Tensor) -> Tensor:
        """Return outputs [N, K], or those of each fold [F, N, K]."""
        return features @ self.weights.mT + self.bias[..., None, :]


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
    encoders = {
        name: package.model.encoders[name] for name in next(iter(heads.values())).of_features
    }
    pooled = pooled_embeddings(encoders, samples, caches, rows)
    features = torch.cat(list(pooled.values()), dim=1).double()
    choices = column_choices(
        [encoder.probe_choices for encoder in encoders.values()],
        [part.shape[1] for part in pooled.values()],
    )
    subject, linked = samples.subject[rows], linked_numbers(samples.indexes)[rows]

    for task, head in heads.items():
        targets = torch.from_numpy(samples.targets(task)[rows])
        fold = folds_of_labelled(linked, targets, seed)
        models = package.tasks[task].linear_models(targets.double())
        parts = [_part(*model, subject, package.config.per_subject) for model in models]
        linear, by_fold = _fit_linear(parts, features, choices, fold, cache)

        if head.trees is not None and by_fold is not None:
            columns = tree_columns(pooled, head.widths, features).numpy()
            fitting = Fitting(columns=columns, parts=parts, subject=subject)
            boosted = remembered_trees(
                fitting, linear(features), by_fold(features), fold, seed, cache
            )
            head.trees.load_state_dict(boosted.trees)
            linear = Linear(
                boosted.linear_share * linear.weights,
                boosted.linear_share * linear.bias + boosted.constant,
            )
        _put(head, linear)
    package.model.mask_unselected_features()


def _part(
    kind: LinearModel,
    targets: Tensor,
    outputs: slice,
    subject: NDArray[np.int64],
    per_subject: bool,
) -> Part:
    """Return what a linear model is to answer, with the weights of the samples whose targets are
    known.
    """
    known = ~targets.isnan().reshape(len(targets), -1).any(dim=1)
    weight = torch.ones(len(subject)).double()
    if per_subject:
        weight[known] = subject_weights(subject[known.numpy()])
    return Part(kind=kind, outputs=outputs, known=known, targets=targets, weight=weight)


def _fit_linear(
    parts: Sequence[Part],
    features: Tensor,
    choices: Sequence[Sequence[int]],
    fold: Tensor,
    cache: Path,
) -> tuple[Linear, Linear | None]:
    """Return the linear models of a head as one, and those without each fold; None where some fold
    had no such model.
    """
    num_outputs = max(part.outputs.stop for part in parts)
    weights = features.new_zeros(1 + NUM_FOLDS, num_outputs, features.shape[1])
    bias = features.new_zeros(1 + NUM_FOLDS, num_outputs)
    whole = True
    for part in parts:
        known = part.known
        found = remembered_fit(
            part.kind,
            features[known],
            part.targets[known],
            part.weight[known],
            choices,
            fold[known],
            cache,
        )
        number = len(found.bias)
        weights[:number, part.outputs], bias[:number, part.outputs] = found
        whole = whole and number == 1 + NUM_FOLDS
    return Linear(weights[0], bias[0]), Linear(weights[1:], bias[1:]) if whole else None


def _put(head: Head, linear: Linear) -> None:
    """Put a linear model over all modalities side by side into a head."""
    assert head.probe_bias is not None
    head.probe_bias.copy_(linear.bias)
    by_modality = torch.split(linear.weights, list(head.widths.values()), dim=1)
    for name, part in zip(head.widths, by_modality, strict=True):
        head.of_features[name].get_parameter("weight").data.copy_(part)


def pooled_embeddings(
    modalities: Mapping[str, Modality],
    samples: Samples,
    caches: Mapping[str, PieceSource],
    rows: NDArray[np.int64],
) -> dict[str, Tensor]:
    """Return what the probe reads of each modality [N, W] in its plain view, on the CPU.

    A sample without the modality has zeros.
    """
    pooled: dict[str, list[Tensor]] = {name: [] for name in modalities}
    batches = Batches(samples, modalities, caches)
    for draw in sequential_batches(rows, _BATCH):
        batch = batches[draw]
        for name, modality in modalities.items():
            if name in batch.pieces:
                part = batch.pieces[name]
                tokens = None if part.encoded is None else Tokens.of_pieces(part.encoded, part)
                pooled[name].append(
                    readout_features(modality, part, tokens, len(batch), probe=True)
                )
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
    """Assign subjects to folds, those ever positive and the others evenly.

    Returns the fold of each sample [N].
    """
    distinct, number = np.unique(subject, return_inverse=True)
    draws = torch.randperm(len(distinct), generator=generator(seed, "probe folds")).double().numpy()
    return torch.from_numpy(assign_balanced(number, draws, NUM_FOLDS, targets))


def folds_of_labelled(subject: NDArray[np.int64], targets: Tensor, seed: int) -> Tensor:
    """Return the fold of each sample [N], -1 where none of its targets [N, T] is known.

    Linked subjects, of one number, stay together: what is chosen in the folds would be chosen by
    memory.
    """
    labelled = ~targets.isnan().all(dim=1)
    fold = torch.full((len(subject),), -1)
    fold[labelled] = subject_folds(subject[labelled.numpy()], targets[labelled].numpy(), seed)
    return fold


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
) -> Linear:
    """Return `fit_output` of the same arguments, from `cache` where they were fitted before.

    Other processes wait for the first. The key holds every argument and how it is fitted.
    """
    key: list[str | bytes | Tensor] = [
        *(repr(kind), json.dumps([*map(list, choices)])),
        *(Path(file).read_bytes() for file in (__file__, linear_models.__file__)),
        *(features, targets, weight, fold),
    ]

    def fit() -> dict[str, Tensor]:
        return fit_output(kind, features, targets, weight, choices, fold)._asdict()

    return Linear(**_remembered(cache, key, fit))


def remembered_trees(
    fitting: Fitting, linear: Tensor, by_fold: Tensor, fold: Tensor, seed: int, cache: Path
) -> Boosted:
    """Return `boost` of the same arguments, from `cache` where they were fitted before."""
    key: list[str | bytes | Tensor] = [f"{seed}"]
    key += [Path(file).read_bytes() for file in (boosting.__file__, trees.__file__)]
    key += [torch.from_numpy(fitting.columns), torch.from_numpy(fitting.subject)]
    key += [linear, by_fold, fold]
    for part in fitting.parts:
        key += [repr(part.kind), f"{part.outputs}", part.known, part.targets, part.weight]

    def fit() -> dict[str, Tensor]:
        found = boosting.boost(fitting, linear, by_fold, fold, seed)
        share = torch.tensor(found.linear_share).double()
        return {**found.trees, "constant": found.constant, "linear_share": share}

    kept = _remembered(cache, key, fit)
    constant, share = kept.pop("constant"), kept.pop("linear_share")
    return Boosted(float(share), constant, kept)


def _remembered(
    cache: Path, key: Sequence[str | bytes | Tensor], fit: Callable[[], Mapping[str, Tensor]]
) -> dict[str, Tensor]:
    """Return what `fit` does, or did for the same key; where others fit it at this moment, wait for
    them.
    """
    digest = sha256()
    for part in key:
        data = part.contiguous().numpy().tobytes() if isinstance(part, Tensor) else part
        digest.update(data.encode() if isinstance(data, str) else data)
    path = cache / "statistics" / f"probe-{digest.hexdigest()[:32]}.safetensors"
    with exclusive_lock(path, "a probe"):
        if path.exists() and not is_intact(path):
            drop(path)
        if not path.exists():
            save_sealed(path, fit())

        os.utime(path)
        return load_file(path)


def fit_output(
    kind: LinearModel,
    features: Tensor,
    targets: Tensor,
    weight: Tensor,
    choices: Sequence[Sequence[int]],
    fold: Tensor,
) -> Linear:
    """Choose columns and penalty with the least loss over the folds, then fit on everything.

    Returns weights [1 + F, K, W], zero outside the chosen columns and where a column is always
    zero, and biases [1 + F, K]: of everything, then without each of the folds that others can learn
    without.
    """
    by_choice = [
        fold_paths(kind, features[:, columns], targets, weight, fold) for columns in choices
    ]
    losses = torch.stack(
        [
            validation_losses(kind, paths, features[:, columns], targets, weight, fold)
            for paths, columns in zip(by_choice, choices, strict=True)
        ]
    )
    choice, penalty = divmod(int(losses.argmin()), len(PENALTIES))
    columns = [column for column in choices[choice] if features[:, column].any()]
    kept = [place for place, column in enumerate(choices[choice]) if features[:, column].any()]

    fitted = [kind.path(features[:, columns], targets, weight)[penalty]]
    weights = features.new_zeros(1 + len(by_choice[choice]), len(fitted[0][1]), features.shape[1])
    weights[0][:, columns] = fitted[0][0]
    for number, path in enumerate(by_choice[choice].values(), start=1):
        fitted.append(path[penalty])
        weights[number][:, columns] = path[penalty][0][:, kept]
    return Linear(weights, torch.stack([bias for _, bias in fitted]))


def fold_paths(
    kind: LinearModel, features: Tensor, targets: Tensor, weight: Tensor, fold: Tensor
) -> dict[int, list[tuple[Tensor, Tensor]]]:
    """Return what is fitted without each fold that has samples, where the others have two answers
    to learn from.
    """
    paths = {}
    for held_out in range(NUM_FOLDS):
        train = fold != held_out
        if not train.all() and kind.can_learn(targets[train]):
            paths[held_out] = kind.path(features[train], targets[train], weight[train])
    return paths


def validation_losses(
    kind: LinearModel,
    paths: Mapping[int, Sequence[tuple[Tensor, Tensor]]],
    features: Tensor,
    targets: Tensor,
    weight: Tensor,
    fold: Tensor,
) -> Tensor:
    """Return the loss, summed over the folds' held-out rows, for each penalty."""
    losses = torch.zeros(len(PENALTIES), dtype=torch.float64)
    for held_out, path in paths.items():
        test = fold == held_out
        for i, (weights, bias) in enumerate(path):
            losses[i] += kind.loss(features[test] @ weights.T + bias, targets[test], weight[test])
    return losses
