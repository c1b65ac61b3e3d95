"""What a task is: where its labels stand, what its head answers, how the answer is scored."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import polars as pl
from meds.schema import DataSchema, LabelSchema
from numpy.typing import NDArray
from torch import Tensor

from clintune.core.errors import DataError
from clintune.metrics import Metric

SAMPLE = [DataSchema.subject_id_name, LabelSchema.prediction_time_name]
_KEYS = ("int64", "timestamp[us]")


class Task(ABC):
    """Base of every task.

    `label` names `labels/<label>.parquet` (or the folder `labels/<label>/`) of a cohort; a cohort that lacks it has
    no labels for the task. `weight` scales the task's mean loss. Outputs are raw logits [N, O].
    """

    scoring: ClassVar[Mapping[str, Metric]]
    """How answers are scored, by the name that `trainer.metric` and metrics.json use."""

    def __init__(self, *, label: str, weight: float = 1.0) -> None:
        self.label = label
        self.weight = weight

    @property
    @abstractmethod
    def output_names(self) -> list[str]:
        """Names of the O outputs, known once `fit` or `load_state` has run."""

    @property
    def num_outputs(self) -> int:
        """Return O."""
        return len(self.output_names)

    @abstractmethod
    def read(self, root: Path) -> pl.DataFrame | None:
        """Read a cohort's labels: subject_id, prediction_time, target (list of T float32, NaN where unknown).

        Returns None where the cohort has no such label; raises DataError for a file that breaks the label schema.
        """

    @abstractmethod
    def fit(self, targets: NDArray[np.float32]) -> None:
        """Learn what depends on the training targets [N, T], such as class weights."""

    def state(self) -> dict[str, Any]:
        """Return the JSON-able state that the package keeps; `load_state` restores it."""
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore what `state` returned."""
        assert not state, f"{type(self).__name__} keeps no state"

    @abstractmethod
    def loss(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return (sum of losses, number of labelled targets), both scalars; unknown targets add to neither."""

    @abstractmethod
    def probabilities(self, outputs: Tensor) -> Tensor:
        """Turn logits [N, O] into probabilities [N, O]."""

    def metrics(self, targets: NDArray[np.float32], probabilities: NDArray[np.float32]) -> dict[str, float]:
        """Score probabilities [N, O] against targets [N, T].

        Unknown targets are left out; a metric that is undefined (one class only) is NaN.
        """
        scores = self.scores(targets, probabilities, np.ones((1, len(targets))))
        return {name: float(values[0]) for name, values in scores.items()}

    def scores(
        self, targets: NDArray[np.float32], probabilities: NDArray[np.float32], weights: NDArray[np.float64]
    ) -> dict[str, NDArray[np.float64]]:
        """Compute the metrics under R weightings of the samples at once: `weights` [R, N] gives [R] values each."""
        return {name: metric(targets, probabilities, weights) for name, metric in self.scoring.items()}

    @abstractmethod
    def predicted_columns(self, probabilities: NDArray[np.float32]) -> dict[str, list[Any]]:
        """Return the prediction columns of `meds_evaluation.PredictionSchema` for this task."""


def label_files(root: Path, label: str) -> list[Path]:
    """List `labels/<label>.parquet`, or the files in the folder `labels/<label>/`; none where there is neither."""
    folder = root / "labels" / label
    file = folder.with_name(f"{label}.parquet")
    if file.is_file():
        return [file]
    return sorted(folder.rglob("*.parquet"))


def read_labels(root: Path, label: str, column: str, kind: type[pl.DataType]) -> pl.DataFrame | None:
    """Read a label that is one file or a folder of shards: subject_id, prediction_time, `column`.

    Returns None where the cohort has no such label; raises DataError as `read_label_file` and `label_values` do.
    """
    files = label_files(root, label)
    if not files:
        return None
    table = pl.concat([label_values(read_label_file(file), file, column, kind) for file in files])
    if len(files) > 1 and table.select(SAMPLE).is_duplicated().any():
        raise DataError(f"{files[0].parent}: two files label the same subject and prediction time; keep one")
    return table


def label_values(table: pl.DataFrame, path: Path, column: str, kind: type[pl.DataType]) -> pl.DataFrame:
    """Keep the key columns and the value column of a label file.

    Raises DataError where the value column is missing or not of the type that the MEDS label schema gives it.
    """
    if column not in table.columns:
        raise DataError(f"{path}: lacks column {column}, which holds the labels of this kind of task; add it")
    if table.schema[column] not in (kind, pl.Null):
        raise DataError(f"{path}: column {column} is {table.schema[column]}; write it as {kind.__name__}")
    return table.select(*SAMPLE, pl.col(column).cast(kind))


def read_label_file(path: Path) -> pl.DataFrame:
    """Read one MEDS label file and check its keys.

    Raises DataError where the file cannot be read, lacks a key column, has one of another type or with a null, or
    labels one (subject, time) twice.
    """
    try:
        table = pl.read_parquet(path, glob=False)
    except Exception as error:
        raise DataError(f"{path}: not a readable Parquet file ({type(error).__name__}); write it again") from error
    missing = [name for name in SAMPLE if name not in table.columns]
    if missing:
        raise DataError(f"{path}: lacks column {missing[0]}; a MEDS label file has {', '.join(SAMPLE)} and a value")
    for name, fits, wanted in zip(
        SAMPLE, (table.schema[SAMPLE[0]].is_integer(), _is_moment(table)), _KEYS, strict=True
    ):
        if not fits:
            raise DataError(f"{path}: column {name} is {table.schema[name]}; MEDS wants {wanted}: cast it")
        if (null := table[name].is_null()).any():
            raise DataError(f"{path}: row {null.arg_true()[0]}: column {name} is null; give it a value or drop the row")
    table = table.with_columns(pl.col(SAMPLE[0]).cast(pl.Int64), pl.col(SAMPLE[1]).cast(pl.Datetime("us")))
    doubled = table.select(SAMPLE).is_duplicated()
    if doubled.any():
        raise DataError(f"{path}: row {doubled.arg_true()[0]} labels a subject and prediction time twice; keep one")
    return table


def _is_moment(table: pl.DataFrame) -> bool:
    """Return whether prediction times are moments: a day would count as its midnight."""
    return isinstance(table.schema[SAMPLE[1]], pl.Datetime)
