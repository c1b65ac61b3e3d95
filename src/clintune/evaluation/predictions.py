"""Predictions on disk, in the field's prediction schema, so that `meds_evaluation` and other tools read them.

A yes-or-no task is one file `<task>.parquet`; a task of many phenotypes is a folder `<task>/` with such a file each.
That schema allows no further column, so cohort and fold stand in the file's metadata: `clintune.runs` lists
[cohort, fold, number of rows] of each run of rows. Rows whose label is unknown are left out, as the schema demands;
where no label is known at all, every row is kept and the label column is absent.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from meds.schema import LabelSchema
from numpy.typing import NDArray

from clintune.cohort.labels import SAMPLE
from clintune.cohort.shards import UNREADABLE
from clintune.contracts import Predictions
from clintune.core.errors import DataError
from clintune.core.files import atomic_path
from clintune.core.paths import inside
from clintune.evaluation.subjects import one_output, take
from clintune.tasks.base import Task
from clintune.tasks.multiclass import Multiclass
from clintune.tasks.multilabel import Multilabel

RUNS = "clintune.runs"
KEYS = ["cohort", "fold", *SAMPLE]


def write_predictions(folder: Path, name: str, predictions: Predictions, task: Task) -> Path:
    """Write the predictions of task `name` below `folder`; return the file or, for many phenotypes, the folder."""
    if not isinstance(task, Multilabel):
        return _write(_file(folder, name, "task"), predictions, task)
    place = inside(folder, name, "task", DataError)
    with atomic_path(place) as partial:
        for i, phenotype in enumerate(task.output_names):
            _write(_file(partial, phenotype, "phenotype"), one_output(predictions, i), task)
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
    """Write every row of a part of the predictions of task `name` as `<name>/<shard>.parquet` below `folder`.

    Of many phenotypes each has a folder of its own in `<name>/`. The decision is null where it is `withheld` [N, T],
    and the probability where it is NaN. The columns `labelled` [T] are those whose labels are all known, in this part
    and every other, and are written: the schema knows no unknown one.
    """
    place = inside(folder, name, "task", DataError)
    parts = [(place, predictions)]
    if isinstance(task, Multilabel):
        parts = [
            (inside(place, phenotype, "phenotype", DataError), one_output(predictions, i))
            for i, phenotype in enumerate(task.output_names)
        ]
    for i, (home, part) in enumerate(parts):
        labels = _label_column(part.targets[:, 0], task) if labelled[i] else {}
        _save(home / f"{shard}.parquet", part, task, labels, withheld[:, i])


def read_predictions(folder: Path, name: str, task: Task) -> Predictions:
    """Read what `write_predictions` wrote. Rows stand by fold and cohort; unlabelled ones may have been left out.

    Raises DataError where a file is missing or was not written by clintune.
    """
    if not isinstance(task, Multilabel):
        table = _read(_file(folder, name, "task"), task)
    else:
        place = inside(folder, name, "task", DataError)
        parts = [
            _read(_file(place, phenotype, "phenotype"), task).with_columns(phenotype=pl.lit(phenotype))
            for phenotype in task.output_names
        ]
        wide = pl.concat(parts).pivot("phenotype", index=KEYS, values=["target", *_risks(parts[0])])
        columns = [f"{kind}_{phenotype}" for kind in ("target", *_risks(parts[0])) for phenotype in task.output_names]
        table = wide.select(*KEYS, *columns).sort(KEYS)
    return Predictions(
        cohort=table["cohort"].to_numpy().astype(str),
        subject_id=table[SAMPLE[0]].to_numpy(),
        prediction_time=table[SAMPLE[1]].to_list(),
        fold=table["fold"].to_numpy(),
        targets=_matrix(table.select(name for name in table.columns if name.startswith("target"))),
        probabilities=_matrix(table.select(_risks(table))),
    )


def _file(folder: Path, name: str, what: str) -> Path:
    """Return the file of a task or phenotype, whose name may come from a package: it never leaves `folder`."""
    place = inside(folder, name, what, DataError)
    return place.with_name(f"{place.name}.parquet")


def _write(path: Path, predictions: Predictions, task: Task) -> Path:
    known = ~np.isnan(predictions.targets[:, 0])
    labels: dict[str, Any] = {}
    if known.any():
        predictions = take(predictions, known)
        labels = _label_column(predictions.targets[:, 0], task)
    return _save(path, predictions, task, labels)


def _save(
    path: Path,
    predictions: Predictions,
    task: Task,
    labels: dict[str, Any],
    withheld: NDArray[np.bool_] | None = None,
) -> Path:
    predicted = pl.DataFrame(task.predicted_columns(predictions.probabilities))
    if withheld is not None:
        decision = next(name for name in predicted.columns if name.endswith("_value"))
        predicted = predicted.with_columns(pl.when(~pl.Series(withheld)).then(decision).alias(decision))
        predicted = predicted.fill_nan(None)  # no number, rather than one that other tools would reckon with
    columns = {
        "cohort": predictions.cohort.astype(str),
        "fold": predictions.fold,
        SAMPLE[0]: predictions.subject_id,
        SAMPLE[1]: pl.Series(predictions.prediction_time, dtype=pl.Datetime("us")),
        **labels,
        **predicted.to_dict(),
    }
    table = pl.DataFrame(columns).sort("fold", "cohort", maintain_order=True)
    runs = table.group_by("cohort", "fold", maintain_order=True).len().rows()
    with atomic_path(path) as partial:
        plain = table.drop("cohort", "fold").with_columns(pl.col(pl.Float64).cast(pl.Float32))
        plain.write_parquet(partial, metadata={RUNS: json.dumps(runs)})
    return path


def _read(path: Path, task: Task) -> pl.DataFrame:
    """Return the key columns, `target` and the probabilities of one file."""
    try:
        table = pl.read_parquet(path, glob=False)
        runs = json.loads(pl.read_parquet_metadata(path)[RUNS])
    except (KeyError, ValueError, *UNREADABLE) as error:
        raise DataError(f"{path}: not predictions of clintune ({type(error).__name__}); predict again") from error
    cohort = [cohort for cohort, _, rows in runs for _ in range(rows)]
    fold = [fold for _, fold, rows in runs for _ in range(rows)]
    target: pl.Expr = pl.lit(None, pl.Float32)
    if LabelSchema.boolean_value_name in table.columns:
        target = pl.col(LabelSchema.boolean_value_name).cast(pl.Float32)
    elif LabelSchema.categorical_value_name in table.columns:
        names = task.output_names
        target = pl.col(LabelSchema.categorical_value_name).replace_strict(
            names, range(len(names)), return_dtype=pl.Float32
        )
    keys = {"cohort": pl.Series(cohort, dtype=pl.String), "fold": pl.Series(fold, dtype=pl.Int64)}
    return table.with_columns(target=target, **keys).select(*KEYS, "target", *_risks(table))


def _label_column(targets: NDArray[np.float32], task: Task) -> dict[str, Any]:
    if isinstance(task, Multiclass):
        return {LabelSchema.categorical_value_name: [task.output_names[int(number)] for number in targets]}
    return {LabelSchema.boolean_value_name: targets == 1}


def _risks(table: pl.DataFrame) -> list[str]:
    return [name for name in table.columns if name.startswith("predicted_") and "probability" in name]


def _matrix(table: pl.DataFrame) -> NDArray[np.float32]:
    return table.cast(pl.Float32).fill_null(float("nan")).to_numpy().astype(np.float32)
