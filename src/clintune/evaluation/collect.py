"""Predictions of a run's folds and members, from their packages."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from accelerate import Accelerator
from numpy.typing import NDArray

from clintune.config.parts import modules_of
from clintune.contracts import Predictions
from clintune.core.errors import DataError, PackageError
from clintune.core.text import visible
from clintune.evaluation.context import HELD_OUT, MEMBER, TUNING, WHOLE, Request
from clintune.evaluation.predict import concatenate, to_predictions
from clintune.experiment.fold_data import precompute_pieces, write_unreadable
from clintune.experiment.folds import Fold, folds, read_splits, rows_by_split
from clintune.experiment.open import Experiment
from clintune.inference.forward import Predicted, average, predict_member
from clintune.layers.precision import resolve_precision
from clintune.package.contents import Package
from clintune.package.load import load_package
from clintune.package.members import trained_members

MOST_PLAIN = 10_000
"""Samples of a split that are predicted plainly, drawn at random where there are more."""
Answers = dict[str, dict[str, Predicted]]
"""Split, then variant, then task."""


def check_held_out(run: Path, experiment: Experiment) -> None:
    """Raise DataError where no labelled sample is held out: there is nothing to score a run on."""
    for fold in folds(experiment.config, run, experiment.samples):
        if (read_splits(fold.folder / "splits.parquet", experiment.samples) == HELD_OUT).any():
            return
    raise DataError(
        f"{run.name}: no labelled sample is held out; train with splits.held_out above 0, or with "
        "cv"
    )


def whole(modalities: Mapping[str, object]) -> Request:
    """Return the request for what every evaluation has: all modalities, tuning and held out."""
    return Request(variant=WHOLE, kept=frozenset(modalities), splits=(TUNING, HELD_OUT))


def predict_run(
    run: Path, experiment: Experiment, requests: Sequence[Request], accelerator: Accelerator
) -> dict[str, dict[str, dict[str, Predictions]]]:
    """Return the predictions of each split, variant and task, over all folds of a run.

    An ensemble also brings each `member N` of it by itself, for the held-out samples.
    """
    samples, by_subject = experiment.samples, experiment.config.per_subject
    plain = {request.variant for request in requests if request.is_plain}
    collected: dict[tuple[str, str, str], list[Predictions]] = defaultdict(list)

    for number, fold in enumerate(folds(experiment.config, run, samples)):
        rows = rows_by_split(read_splits(fold.folder / "splits.parquet", samples))
        answers = _predict_fold(run, fold, experiment, rows, requests, accelerator)
        for split, variant, task, predicted in _flat(answers):
            check_finite(fold, task, predicted)
            is_plain = variant in plain
            mine = _plain_rows(rows[split]) if is_plain else rows[split]
            part = to_predictions(
                samples, mine, task, predicted, number, by_subject and not is_plain
            )
            collected[split, variant, task].append(part)

    found: dict[str, dict[str, dict[str, Predictions]]] = {}
    for (split, variant, task), parts in collected.items():
        found.setdefault(split, {}).setdefault(variant, {})[task] = concatenate(parts)
    return found


def check_finite(fold: Fold, task: str, predicted: NDArray[np.float32]) -> None:
    """Raise PackageError where an answer is no number: it would count as one in every score."""
    wrong = int((~np.isfinite(predicted)).any(axis=1).sum())
    if wrong:
        raise PackageError(
            f"{fold.folder / 'package'}: the answers for {visible(task)} are not finite in {wrong} "
            f"of {len(predicted)} samples; its weights are damaged: train anew"
        )


def _predict_fold(
    run: Path,
    fold: Fold,
    experiment: Experiment,
    rows: Mapping[str, NDArray[np.int64]],
    requests: Sequence[Request],
    accelerator: Accelerator,
) -> Answers:
    """Return the predictions of a fold, the mean of its members, which are loaded in turn."""
    config = experiment.config
    members: list[Answers] = []

    for folder in trained_members(fold.folder / "package", config.ensemble):
        package = load_package(folder, accelerator.device, modules_of(config))
        answers: Answers = {}
        for is_plain in (False, True):
            asked = [request for request in requests if request.is_plain == is_plain]
            found = _predict(run, package, experiment, rows, asked, is_plain, accelerator)
            for split, by_variant in found.items():
                answers.setdefault(split, {}).update(by_variant)
        members.append(answers)

    together = {}
    for split in members[0]:
        together[split] = average([member[split] for member in members])
    if len(members) > 1 and HELD_OUT in together:
        together[HELD_OUT] |= {
            f"{MEMBER} {i}": member[HELD_OUT][WHOLE] for i, member in enumerate(members)
        }
    return together


def _predict(
    run: Path,
    package: Package,
    experiment: Experiment,
    rows: Mapping[str, NDArray[np.int64]],
    requests: Sequence[Request],
    is_plain: bool,
    accelerator: Accelerator,
) -> Answers:
    """Return the predictions of one member for requests that are all plain, or all not."""
    kept = _kept(requests, rows)
    if not kept:
        return {}

    # Preprocess the samples of all splits at once.
    mine = {split: _plain_rows(rows[split]) if is_plain else rows[split] for split in kept}
    all_rows, encoders = np.concatenate(list(mine.values())), package.model.encoders
    caches, unreadable = precompute_pieces(
        experiment, encoders, package.statistics, all_rows, accelerator.device
    )
    if accelerator.is_main_process and not is_plain:
        write_unreadable(run / "unreadable.csv", unreadable)

    trainer, found = experiment.config.trainer, {}
    for split, variants in kept.items():
        found[split] = predict_member(
            package,
            caches,
            experiment.samples,
            mine[split],
            variants,
            batch_size=trainer.micro_batch_size,
            precision=resolve_precision(trainer.precision),
            views=1 if is_plain else None,
            processes=accelerator,
        )
    return found


def _kept(
    requests: Sequence[Request], rows: Mapping[str, NDArray[np.int64]]
) -> dict[str, dict[str, frozenset[str]]]:
    """Return the modalities that each split and variant keeps, of splits that have samples."""
    kept: dict[str, dict[str, frozenset[str]]] = {}
    for request in requests:
        for split in request.splits:
            if len(rows[split]):
                kept.setdefault(split, {})[request.variant] = request.kept
    return kept


def _flat(answers: Answers) -> Iterator[tuple[str, str, str, NDArray[np.float32]]]:
    """Yield the predictions with their split, variant and task."""
    for split, by_variant in answers.items():
        for variant, by_task in by_variant.items():
            for task, predicted in by_task.items():
                yield split, variant, task, predicted


def _plain_rows(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the samples of a split that are predicted plainly."""
    if len(rows) <= MOST_PLAIN:
        return rows
    return np.sort(np.random.default_rng(0).choice(rows, MOST_PLAIN, replace=False))
