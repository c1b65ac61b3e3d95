"""The probe of frozen encoders and facts: penalised linear models, with trees beside them if asked.

Which features it reads, where a modality leaves a choice, and the penalty are chosen in folds of
the training subjects.
"""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor

from clintune.cohort.linked import linked_numbers
from clintune.cohort.samples import Samples
from clintune.core.locks import exclusive_lock
from clintune.features.pieces import PieceSource
from clintune.features.sealed import drop, is_intact, save_sealed
from clintune.model import trees
from clintune.model.heads import Head
from clintune.model.trees import tree_columns
from clintune.package.contents import Package
from clintune.tasks import linear as linear_models
from clintune.tasks.linear import LinearModel
from clintune.training import boosting, linear_fit, tree_tensors
from clintune.training.boosting import Boosted, Fitting, Part
from clintune.training.linear_fit import Linear, fit_output
from clintune.training.probe_inputs import (
    NUM_FOLDS,
    column_choices,
    folds_of_labelled,
    pooled_embeddings,
    subject_weights,
)


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
    """Return what a linear model is to answer, with the weight of each sample."""
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
    """Return the linear models of a head as one, and those without each fold.

    The latter are None where some fold had no such model.
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
        *(Path(file).read_bytes() for file in (linear_fit.__file__, linear_models.__file__)),
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
    code = (boosting.__file__, tree_tensors.__file__, trees.__file__)
    key += [Path(file).read_bytes() for file in code]
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
    """Return what `fit` returns, or returned for the same key; wait for others that fit it now."""
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
