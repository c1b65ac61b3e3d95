"""Predictions on disk, in the field's prediction schema.

So `meds_evaluation` and other tools read them. A task is one file `<task>.parquet`; a task of many
phenotypes is a folder `<task>/` with such a file each. A task whose own table is another, as one of
survival, has beside it a folder `<task>/` with a file of the schema for each yes-or-no view.

That schema allows no further column, so cohort and fold stand in the file's metadata:
`clintune.runs` lists [cohort, fold, number of rows] of each run of rows. Rows whose label is
unknown are left out, as the schema demands; where no label is known at all, every row is kept and
the label column is absent.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from clintune.cohort.labels import SAMPLE
from clintune.cohort.shards import UNREADABLE
from clintune.contracts import Predictions
from clintune.core.errors import DataError
from clintune.core.files import atomic_path
from clintune.core.paths import inside
from clintune.evaluation.subjects import one_output, take
from clintune.tasks.base import Task, float_matrix
from clintune.tasks.binary import Binary
from clintune.tasks.calibration import Calibration, calibrate

CALIBRATED, RAW = "predictions", "predictions_raw"
"""The folders of a run, or of a job that scores: calibrated predictions, and raw ones.

Both have the same files and columns. A probability in the first is what
`clintune.load(...).predict` calls by the same name, one in the second what ends in `_raw` there.
Decisions stand in the first alone, null where the model abstains.
"""
RUNS = "clintune.runs"
KEYS = ["cohort", "fold", *SAMPLE]


def write_both(
    run: Path,
    split: str,
    name: str,
    predictions: Predictions,
    fitted: Sequence[Calibration],
    task: Task,
) -> None:
    """Write the predictions of task `name` for a split of a run, raw and calibrated.

    `fitted` holds the calibration of each fold.
    """
    after, withheld = calibrate(predictions, fitted)
    undecided = np.ones_like(withheld) if task.questions else None
    write_predictions(run / RAW / split, name, predictions, task, undecided)
    calibrated = replace(predictions, predicted=after)
    write_predictions(run / CALIBRATED / split, name, calibrated, task, withheld)


def write_predictions(
    folder: Path,
    name: str,
    predictions: Predictions,
    task: Task,
    withheld: NDArray[np.bool_] | None = None,
) -> Path:
    """Write the predictions of task `name` below `folder`.

    Return the file or, of a task with parts, the folder. The decision is null where it is
    `withheld` [N, G].
    """
    place = inside(folder, name, "task", DataError)
    if not task.parts:
        if task.binary_views and not task.questions:
            with atomic_path(place) as partial:
                for view in task.binary_views:
                    as_binary = Binary(label=view.name)
                    _write(_file(partial, view.name, "view"), view.of(predictions), as_binary)
        first = None if withheld is None else withheld[:, 0]
        return _write(_file(folder, name, "task"), predictions, task, first)

    with atomic_path(place) as partial:
        for i, (part_name, part) in enumerate(task.parts.items()):
            own = None if withheld is None else withheld[:, i]
            _write(_file(partial, part_name, "phenotype"), one_output(predictions, i), part, own)
    return place


def write_shard(
    folder: Path,
    name: str,
    shard: str,
    predictions: Predictions,
    task: Task,
    *,
    withheld: NDArray[np.bool_],
    labelled: NDArray[np.bool_],
) -> None:
    """Write every row of a shard of the predictions of task `name`.

    The file is `<name>/<shard>.parquet` below `folder`; each part of a task has a folder of its own
    in `<name>/`. The decision is null where it is `withheld` [N, G], and what is predicted where it
    is NaN. The columns `labelled` [T] are those whose labels are all known, in this shard and every
    other, and are written: the schema knows no unknown label.
    """
    place = inside(folder, name, "task", DataError)
    pieces = [(place, predictions, task, labelled.all())]
    if task.parts:
        pieces = []
        for i, (part_name, part) in enumerate(task.parts.items()):
            home = inside(place, part_name, "phenotype", DataError)
            pieces.append((home, one_output(predictions, i), part, labelled[i]))

    for i, (home, piece, its_task, is_labelled) in enumerate(pieces):
        labels = its_task.label_table(piece.targets) if is_labelled else {}
        _save(home / f"{shard}.parquet", piece, its_task, labels, withheld[:, i])


def read_predictions(folder: Path, name: str, task: Task) -> Predictions:
    """Read what `write_predictions` wrote.

    Rows stand by fold and cohort; unlabelled ones may have been left out. Raises DataError where a
    file is missing or was not written by clintune.
    """
    if not task.parts:
        return _predictions(_read(_file(folder, name, "task"), task))

    place = inside(folder, name, "task", DataError)
    parts = [
        _read(_file(place, part_name, "phenotype"), part).with_columns(part=pl.lit(part_name))
        for part_name, part in task.parts.items()
    ]
    wide = pl.concat(parts).pivot("part", index=KEYS, values=["target_0", "predicted_0"])
    kinds = ("target_0", "predicted_0")
    columns = [f"{kind}_{part_name}" for kind in kinds for part_name in task.parts]
    return _predictions(wide.select(*KEYS, *columns).sort(KEYS))


def _file(folder: Path, name: str, what: str) -> Path:
    """Return the file of a task or phenotype, which never leaves `folder`.

    Its name may come from a package.
    """
    place = inside(folder, name, what, DataError)
    return place.with_name(f"{place.name}.parquet")


def _write(
    path: Path, predictions: Predictions, task: Task, withheld: NDArray[np.bool_] | None = None
) -> Path:
    known: NDArray[np.bool_] = np.asarray(~np.isnan(predictions.targets).any(axis=1))
    labels: dict[str, Any] = {}
    if known.any():
        predictions = take(predictions, known)
        withheld = None if withheld is None else withheld[known]
        labels = task.label_table(predictions.targets)
    return _save(path, predictions, task, labels, withheld)


def _save(
    path: Path,
    predictions: Predictions,
    task: Task,
    labels: dict[str, Any],
    withheld: NDArray[np.bool_] | None = None,
) -> Path:
    """Write one file of predictions; return its path."""
    predicted = pl.DataFrame(task.prediction_table(predictions.predicted))
    if withheld is not None:
        if (decision := task.decision_column) is not None:
            decided = pl.when(~pl.Series(withheld)).then(decision)
            predicted = predicted.with_columns(decided.alias(decision))
        # No number, rather than one that other tools would reckon with.
        predicted = predicted.fill_nan(None)

    columns = {
        "cohort": predictions.cohort.astype(str),
        "fold": predictions.fold,
        SAMPLE[0]: predictions.subject_id,
        SAMPLE[1]: pl.Series(predictions.prediction_time, dtype=pl.Datetime("us")),
        **labels,
        **predicted.to_dict(),
    }

    # Cohort and fold stand in the file's metadata, as runs of rows: the schema has no column for
    # them.
    table = pl.DataFrame(columns).sort("fold", "cohort", maintain_order=True)
    runs = table.group_by("cohort", "fold", maintain_order=True).len().rows()
    with atomic_path(path) as partial:
        plain = table.drop("cohort", "fold").with_columns(pl.col(pl.Float64).cast(pl.Float32))
        plain.write_parquet(partial, metadata={RUNS: json.dumps(runs)})
    return path


def _read(path: Path, task: Task) -> pl.DataFrame:
    """Return the key columns of one file, and those of targets and predictions, numbered."""
    try:
        table = pl.read_parquet(path, glob=False)
        runs = json.loads(pl.read_parquet_metadata(path)[RUNS])
        targets, predicted = task.from_table(table)
    except (KeyError, ValueError, *UNREADABLE) as error:
        raise DataError(
            f"{path}: not predictions of clintune ({type(error).__name__}); predict again"
        ) from error

    cohorts = [cohort for cohort, _, rows in runs for _ in range(rows)]
    folds = [fold for _, fold, rows in runs for _ in range(rows)]
    columns = {
        "cohort": pl.Series(cohorts, dtype=pl.String),
        "fold": pl.Series(folds, dtype=pl.Int64),
    }
    columns |= {f"target_{i}": pl.Series(column) for i, column in enumerate(targets.T)}
    columns |= {f"predicted_{i}": pl.Series(column) for i, column in enumerate(predicted.T)}
    return table.select(SAMPLE).with_columns(**columns).select(*KEYS, pl.exclude(KEYS))


def _predictions(table: pl.DataFrame) -> Predictions:
    targets = [name for name in table.columns if name.startswith("target_")]
    predicted = [name for name in table.columns if name.startswith("predicted_")]
    return Predictions(
        cohort=table["cohort"].to_numpy().astype(str),
        subject_id=table[SAMPLE[0]].to_numpy(),
        prediction_time=table[SAMPLE[1]].to_list(),
        fold=table["fold"].to_numpy(),
        targets=float_matrix(table.select(targets)),
        predicted=float_matrix(table.select(predicted)),
    )
