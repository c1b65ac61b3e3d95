"""The base class of tasks: labels, outputs of the head, predictions, scores, figures and tables.

All that is special about a kind of task stands in its own file in this room. All other rooms ask
the task, and never guess from the shapes of its targets. Axes beside those of `contracts`: P
columns of a task's predictions.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import polars as pl
import torch
from meds.schema import LabelSchema
from numpy.typing import NDArray
from torch import Tensor

from clintune.cohort.labels import SAMPLE, read_labels
from clintune.core.errors import ConfigError
from clintune.metrics import Metric
from clintune.tasks.figure import Figure
from clintune.tasks.linear import ByLoss, LinearModel
from clintune.tasks.questions import BinaryView, Question

Float32s = NDArray[np.float32]

TYPES: Mapping[str, type[pl.DataType]] = {
    LabelSchema.boolean_value_name: pl.Boolean,
    LabelSchema.integer_value_name: pl.Int64,
    LabelSchema.float_value_name: pl.Float32,
    LabelSchema.categorical_value_name: pl.String,
}
"""The value columns of the MEDS label schema."""
_ROUNDING = 1e-6


class Task(ABC):
    """Base of every task.

    `label` names `labels/<label>.parquet` (or the folder `labels/<label>/`) of a cohort, see
    `cohort.labels`; a cohort without it has no labels for the task. `weight` scales the mean loss
    of the task. A subclass must define the outputs of the head (`output_names`), the losses
    (`loss`, `sample_loss`), the predictions (`predict`) and the metrics (`metrics`). All else has
    a default.
    """

    def __init__(self, *, label: str, weight: float = 1.0) -> None:
        self.label = label
        self.weight = weight

    # ---- labels --------------------------------------------------------------------------------

    @property
    def label_columns(self) -> tuple[str, ...]:
        """Columns of the label file that become the columns of the targets, in this order."""
        return (LabelSchema.float_value_name,)

    def read(self, root: Path) -> pl.DataFrame | None:
        """Read the labels of a cohort: columns subject_id, prediction_time and target.

        A target is a list of T float32, NaN where unknown. Returns None where the cohort has no
        such label; raises DataError for a file that breaks the label schema.
        """
        table = read_labels(root, self.label, {name: TYPES[name] for name in self.label_columns})
        if table is None:
            return None
        values = [
            pl.col(name).cast(pl.Float32).fill_null(float("nan")) for name in self.label_columns
        ]
        return table.select(*SAMPLE, target=pl.concat_list(values))

    def fit(self, targets: Float32s) -> None:  # noqa: B027 (there may be nothing to learn)
        """Learn what depends on the training targets [N, T], such as class weights.

        By default there is nothing to learn. The result leaves the house with a package: it must
        name or measure nothing that few subjects have.
        """

    def state(self) -> dict[str, Any]:
        """Return the JSON-able state for the package; `load_state` restores it."""
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore the result of `state`.

        Raises ValueError for anything else, since a stranger may have written it.
        """
        if state:
            raise ValueError("is not empty, though the task keeps none")

    # ---- training ------------------------------------------------------------------------------

    @property
    @abstractmethod
    def output_names(self) -> list[str]:
        """Names of the O outputs of the head, known once `fit` or `load_state` has run."""

    @property
    def num_outputs(self) -> int:
        """Return O."""
        return len(self.output_names)

    @abstractmethod
    def loss(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return the sum of losses and the number of labelled targets, both scalars.

        `outputs` [N, O] are those of the head, `targets` are [N, T]. Unknown targets add to neither
        result.
        """

    def linear_models(self, targets: Tensor) -> Iterator[tuple[LinearModel, Tensor, slice]]:
        """Yield the models that a linear probe fits.

        Each comes with its targets [N] or [N, T] and the outputs that it gives. By default one
        model of all outputs minimises the loss.
        """
        name = f"{type(self).__qualname__} {self.state()}"
        yield ByLoss(name, self.num_outputs, self.loss), targets, slice(0, self.num_outputs)

    # ---- answers -------------------------------------------------------------------------------

    @abstractmethod
    def predict(self, outputs: Tensor) -> Tensor:
        """Turn outputs [N, O] into predictions [N, P]: risks, probabilities, curves, values."""

    @property
    def predicted_names(self) -> list[str]:
        """Names of the P columns of predictions."""
        return self.output_names

    @property
    def questions(self) -> Sequence[Question]:
        """Return the questions of the task that probabilities answer; none for values and curves.

        Their answers are calibrated, the model may abstain from them, and classical baselines
        answer them.
        """
        return []

    @property
    def binary_views(self) -> Sequence[BinaryView]:
        """Return the yes-or-no questions of predictions, for curves and operating points."""
        return [view for question in self.questions for view in question.views()]

    @property
    def parts(self) -> Mapping[str, "Task"]:
        """Return the tasks of one column with prediction files of their own; by default none."""
        return {}

    def positives(self, targets: Float32s) -> NDArray[np.int64] | None:
        """Return the number of positive targets of each sample [N], of targets [N, T].

        Returns None where no answer is the positive one.
        """
        if not self.questions or any(question.is_multiclass for question in self.questions):
            return None
        positive: NDArray[np.int64] = (targets == 1).sum(axis=1)
        return positive

    def released_names(self, targets: Float32s) -> Iterator[tuple[str, NDArray[np.bool_]]]:
        """Yield each name in a package that only labels tell, as a class, and its samples [N]."""
        for question in self.questions:
            column = targets[:, question.column]
            if question.is_multiclass:
                for number, answer in enumerate(question.answers):
                    yield answer, column == number
            elif question.name:
                yield question.name, column == 1

    # ---- scores --------------------------------------------------------------------------------

    @property
    @abstractmethod
    def metrics(self) -> Sequence[Metric]:
        """Metrics of predictions; the first is the primary one.

        The primary metric chooses the checkpoint and stands on every page. The names of the metrics
        are known before `fit`.
        """

    @property
    def figures(self) -> Sequence[Figure]:
        """Figures of the report beside the curves of the binary views; by default none.

        The sequence is also read before `fit`.
        """
        return ()

    @abstractmethod
    def sample_loss(self, targets: Float32s, predicted: Float32s) -> Float32s:
        """Return the loss of each sample's prediction [N]; NaN where no target of it is known."""

    def metric(self, name: str | None) -> Metric | None:
        """Return the metric with a name, or None; without a name return the primary one."""
        if name is None:
            return self.metrics[0]
        return next((metric for metric in self.metrics if metric.name == name), None)

    def score(self, targets: Float32s, predicted: Float32s) -> dict[str, float]:
        """Score predictions [N, P] against targets [N, T]; return values by name of the metric.

        Unknown targets are left out. An undefined metric, as that of one class only, is NaN. Raises
        ConfigError for a value that a metric says it cannot have.
        """
        scores = {metric.name: metric(targets, predicted) for metric in self.metrics}
        for metric in self.metrics:
            value, (least, most) = scores[metric.name], metric.bounds
            if value < least - _ROUNDING or value > most + _ROUNDING:
                raise ConfigError(
                    f"metric {metric.name} is {value:g}, outside its bounds ({least:g}, {most:g}); "
                    "correct `bounds`, or `compute`"
                )
        return scores

    # ---- tables --------------------------------------------------------------------------------

    decision_column: ClassVar[str | None] = None
    """Column of the prediction file that is null where the model abstains or reads no sample."""

    @property
    def predicted_columns(self) -> list[str]:
        """Names of the P columns of predictions in the prediction file."""
        return [f"predicted_{name}" for name in self.predicted_names]

    def decisions(self, predicted: Float32s) -> Any:
        """Return the decision for each sample [N], the values of `decision_column`."""
        raise AssertionError(f"{type(self).__name__} has no decision")

    def label_table(self, targets: Float32s) -> dict[str, Any]:
        """Return known targets [N, T] as columns of the MEDS label schema."""
        columns = zip(self.label_columns, targets.T, strict=True)
        return {name: pl.Series(column).cast(TYPES[name]) for name, column in columns}

    def prediction_table(self, predicted: Float32s) -> dict[str, Any]:
        """Return predictions [N, P] as the columns of the prediction file."""
        columns = dict(zip(self.predicted_columns, predicted.T, strict=True))
        if self.decision_column is None:
            return columns
        return {self.decision_column: self.decisions(predicted), **columns}

    def from_table(self, table: pl.DataFrame) -> tuple[Float32s, Float32s]:
        """Return targets [N, T] and predictions [N, P] of a prediction file; NaN where unknown."""
        return self.targets_from(table), float_matrix(table.select(self.predicted_columns))

    def targets_from(self, table: pl.DataFrame) -> Float32s:
        """Return targets [N, T] of a prediction file; NaN in a column that it lacks."""
        absent = [name for name in self.label_columns if name not in table.columns]
        unknown = [pl.lit(None, pl.Float32).alias(name) for name in absent]
        return float_matrix(table.with_columns(unknown).select(self.label_columns))


def the_list(state: Mapping[str, Any], key: str, kind: tuple[type, ...]) -> list[Any]:
    """Return the list of values of one of the types `kind`, which must be all that a state holds.

    Raises ValueError where the state holds something else.
    """
    values: Any = state.get(key)
    is_list = state.keys() == {key} and isinstance(values, list)
    if not is_list or not all(type(value) in kind for value in values):
        raise ValueError(f"does not hold {key} alone, as a list of the right kind")
    return list(values)


def known_only(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return which samples [N] have all targets, and outputs and targets with zeros for the others.

    A NaN behind a mask would still poison the gradient. Both results are at least float32.
    """
    known = ~targets.isnan().any(dim=1)
    dtype = torch.promote_types(outputs.dtype, torch.float32)
    zero = torch.zeros((), dtype=dtype, device=outputs.device)
    filled = torch.where(known[:, None], outputs.to(dtype), zero)
    truth = torch.where(known[:, None], targets.to(dtype), zero)
    return known, filled, truth


def float_matrix(table: pl.DataFrame) -> Float32s:
    """Return the columns of a table as a matrix, NaN in place of null."""
    return table.cast(pl.Float32).fill_null(float("nan")).to_numpy().astype(np.float32)
