"""Predictions of a run's folds and members, from their packages."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from accelerate import Accelerator
from meds.schema import held_out_split as HELD_OUT
from meds.schema import tuning_split as TUNING
from numpy.typing import NDArray

from clintune.config.parts import modules_of
from clintune.contracts import Predictions
from clintune.core.errors import DataError, PackageError
from clintune.core.text import visible
from clintune.evaluation.ablations import WHOLE
from clintune.evaluation.predict import concatenate, to_predictions
from clintune.experiment.fold_data import precompute_pieces, write_unreadable
from clintune.experiment.folds import Fold, folds, read_splits, rows_by_split
from clintune.experiment.open import Experiment
from clintune.inference.forward import Predicted, average, predict_member
from clintune.layers.precision import resolve_precision
from clintune.package.load import load_package
from clintune.package.members import trained_members

MEMBER = "member"
ByTask = dict[str, Predictions]


def check_held_out(run: Path, experiment: Experiment) -> None:
    """Raise DataError where no labelled sample of any fold is held out: there is nothing to score a run on."""
    for fold in folds(experiment.config, run, experiment.samples):
        if (read_splits(fold.folder / "splits.parquet", experiment.samples) == HELD_OUT).any():
            return
    raise DataError(
        f"{run.name}: no labelled sample is held out; train with splits.held_out above 0, or with cv"
    )


def predict_run(
    run: Path,
    experiment: Experiment,
    chosen: Mapping[str, frozenset[str]],
    accelerator: Accelerator,
) -> dict[str, dict[str, ByTask]]:
    """Return the predictions of each split, variant and task, over all folds of a run.

    `chosen` are the variants of the held-out samples; an ensemble also brings each `member N` of it by itself.
    """
    collected: dict[str, dict[str, dict[str, list[Predictions]]]] = {TUNING: {}, HELD_OUT: {}}
    samples = experiment.samples

    for number, fold in enumerate(folds(experiment.config, run, samples)):
        split = read_splits(fold.folder / "splits.parquet", samples)
        rows = rows_by_split(split)
        wanted = {
            name: chosen if name == HELD_OUT else {WHOLE: chosen[WHOLE]}
            for name in (TUNING, HELD_OUT)
            if len(rows[name])
        }
        if not wanted:
            continue

        for name, by_variant in _predict_fold(
            run, fold, experiment, rows, wanted, accelerator
        ).items():
            for variant, by_task in by_variant.items():
                for task, answers in by_task.items():
                    check_finite(fold, task, answers)
                    part = to_predictions(
                        samples, rows[name], task, answers, number, experiment.config.per_subject
                    )
                    collected[name].setdefault(variant, {}).setdefault(task, []).append(part)

    return {
        name: {
            v: {task: concatenate(parts) for task, parts in by_task.items()}
            for v, by_task in by_variant.items()
        }
        for name, by_variant in collected.items()
    }


def check_finite(fold: Fold, task: str, predicted: NDArray[np.float32]) -> None:
    """Raise PackageError where an answer is no number: it would count as one in every score and decision."""
    wrong = int((~np.isfinite(predicted)).any(axis=1).sum())
    if wrong:
        raise PackageError(
            f"{fold.folder / 'package'}: the answers for {visible(task)} are not finite in {wrong} of "
            f"{len(predicted)} samples; its weights are damaged: train anew"
        )


def _predict_fold(
    run: Path,
    fold: Fold,
    experiment: Experiment,
    rows: Mapping[str, NDArray[np.int64]],
    wanted: Mapping[str, Mapping[str, frozenset[str]]],
    accelerator: Accelerator,
) -> dict[str, dict[str, Predicted]]:
    """Return the predictions of each wanted split and variant, averaged over the fold's members, one at a time."""
    config, samples = experiment.config, experiment.samples
    trusted = modules_of(config)
    members: list[dict[str, dict[str, Predicted]]] = []
    for folder in trained_members(fold.folder / "package", config.ensemble):
        package = load_package(folder, accelerator.device, trusted)
        scored = np.concatenate([rows[split] for split in wanted])
        caches, unreadable = precompute_pieces(
            experiment, package.model.encoders, package.statistics, scored, accelerator.device
        )
        if accelerator.is_main_process:
            write_unreadable(run / "unreadable.csv", unreadable)

        answers = {}
        for split, kept in wanted.items():
            answers[split] = predict_member(
                package,
                caches,
                samples,
                rows[split],
                kept,
                batch_size=config.trainer.micro_batch_size,
                precision=resolve_precision(config.trainer.precision),
                processes=accelerator,
            )
        members.append(answers)

    together = {split: average([member[split] for member in members]) for split in wanted}
    if len(members) > 1 and HELD_OUT in together:
        together[HELD_OUT] |= {
            f"{MEMBER} {i}": member[HELD_OUT][WHOLE] for i, member in enumerate(members)
        }
    return together
