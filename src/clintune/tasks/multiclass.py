"""One of several classes."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl
from meds.schema import LabelSchema
from torch import Tensor

from clintune.cohort.labels import SAMPLE, read_labels
from clintune.core.errors import DataError
from clintune.metrics import Metric, classification
from clintune.tasks.base import Float32s, Task, the_list
from clintune.tasks.linear import LinearModel, OneOf
from clintune.tasks.losses import known_class_cross_entropy, log_losses
from clintune.tasks.questions import Question, one_of

VALUE = LabelSchema.categorical_value_name


class Multiclass(Task):
    """One of several classes: predict `categorical_value` with one logit for each class.

    The target is the number of the class. The classes are `classes`, or those of the first cohort
    that is read, sorted.
    """

    label_columns = (VALUE,)
    decision_column = "predicted_categorical_value"
    metrics: Sequence[Metric] = (
        classification.multiclass_auroc,
        classification.multiclass_auprc,
        classification.accuracy,
        classification.multiclass_brier,
        classification.top_label_ece,
    )
    """AUROC and AUPRC are means over the classes, each against the others."""

    def __init__(
        self, *, label: str, weight: float = 1.0, classes: list[str] | None = None
    ) -> None:
        super().__init__(label=label, weight=weight)
        self._classes = None if classes is None else list(classes)

    @property
    def classes(self) -> list[str]:
        """Names of the classes, in the order of their numbers."""
        assert self._classes is not None, (
            "classes are known once a cohort is read or the state is loaded"
        )
        return self._classes

    @property
    def output_names(self) -> list[str]:
        """Return the classes."""
        return self.classes

    def read(self, root: Path) -> pl.DataFrame | None:
        """Read `labels/<label>.parquet`, or the shards in `labels/<label>/`; null is unknown.

        Raises DataError for a label that is none of the task's classes.
        """
        table = read_labels(root, self.label, {VALUE: pl.String})
        if table is None:
            return None

        # All labels may be unknown, as in a cohort whose outcomes are not in yet.
        classes = table[VALUE].drop_nulls().unique().sort().to_list()
        if not classes:
            return table.select(*SAMPLE, target=pl.lit([float("nan")], pl.List(pl.Float32)))

        # The first cohort may name the classes; others must not name more.
        if self._classes is None:
            self._classes = classes
        foreign = ~table[VALUE].is_in(self._classes)
        if foreign.any():
            row = foreign.arg_true()[0]
            raise DataError(
                f"labels/{self.label} of {root}: row {row} of column {VALUE} is none of the task's "
                f"{len(self._classes)} classes; name every class in `classes` or correct the label"
            )

        numbers = range(len(self._classes))
        number = pl.col(VALUE).replace_strict(self._classes, numbers, return_dtype=pl.Float32)
        return table.select(*SAMPLE, target=pl.concat_list(number.fill_null(float("nan"))))

    def state(self) -> dict[str, Any]:
        """Return the classes."""
        return {"classes": self.classes}

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore the classes; ValueError for anything but a list of names."""
        self._classes = the_list(state, "classes", (str,))

    def loss(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return the sum of cross-entropies and the number of known labels."""
        return known_class_cross_entropy(outputs, targets)

    def predict(self, outputs: Tensor) -> Tensor:
        """Apply the softmax, in float32."""
        return outputs.float().softmax(dim=-1)

    def linear_models(self, targets: Tensor) -> Iterator[tuple[LinearModel, Tensor, slice]]:
        """Yield a multinomial regression."""
        yield OneOf(self.num_outputs), targets[:, 0], slice(0, self.num_outputs)

    @property
    def questions(self) -> list[Question]:
        """Return the one question: which class it is."""
        return one_of(self.classes)

    def sample_loss(self, targets: Float32s, predicted: Float32s) -> Float32s:
        """Return the log loss of each sample."""
        return log_losses(self.questions, targets, predicted)

    @property
    def predicted_columns(self) -> list[str]:
        """Return the column of the probability of each class."""
        return [f"predicted_probability_{name}" for name in self.classes]

    def decisions(self, predicted: Float32s) -> list[str]:
        """Return the most probable class."""
        return [self.classes[number] for number in predicted.argmax(axis=1)]

    def label_table(self, targets: Float32s) -> dict[str, Any]:
        """Return the names of the known classes."""
        return {VALUE: [self.classes[int(number)] for number in targets[:, 0]]}

    def targets_from(self, table: pl.DataFrame) -> Float32s:
        """Return the numbers of the classes; NaN where unknown."""
        if VALUE in table.columns:
            numbers = range(len(self.classes))
            number = pl.col(VALUE).replace_strict(self.classes, numbers, return_dtype=pl.Float32)
            table = table.with_columns(number)
        return super().targets_from(table)
