"""One of several classes."""

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import polars as pl
from meds.schema import LabelSchema
from numpy.typing import NDArray
from torch import Tensor

from clintune import metrics
from clintune.cohort.labels import SAMPLE, read_labels
from clintune.core.errors import DataError
from clintune.tasks.base import Task, the_list
from clintune.tasks.losses import known_class_cross_entropy

VALUE = LabelSchema.categorical_value_name


class Multiclass(Task):
    """Predict `categorical_value` with one logit a class; the target is the number of the class.

    The classes are `classes`, or those of the first cohort that is read, sorted.
    """

    scoring: ClassVar = {
        "auroc": metrics.multiclass_auroc,
        "auprc": metrics.multiclass_auprc,
        "accuracy": metrics.accuracy,
        "brier": metrics.multiclass_brier,
        "ece": metrics.top_label_ece,
    }
    """AUROC and AUPRC are means over the classes, each against the others."""

    def __init__(self, *, label: str, weight: float = 1.0, classes: list[str] | None = None) -> None:
        super().__init__(label=label, weight=weight)
        self._names = None if classes is None else list(classes)

    @property
    def output_names(self) -> list[str]:
        """Return the classes."""
        assert self._names is not None, "classes are known once a cohort is read or the state is loaded"
        return self._names

    def read(self, root: Path) -> pl.DataFrame | None:
        """Read `labels/<label>.parquet`, or the shards in `labels/<label>/`; a null label is unknown.

        Raises DataError for a label that is none of the task's classes.
        """
        table = read_labels(root, self.label, VALUE, pl.String)
        if table is None:
            return None
        classes = table[VALUE].drop_nulls().unique().sort().to_list()
        if not classes:  # all unknown, as those of a cohort whose outcomes are not in yet
            return table.select(*SAMPLE, target=pl.lit([float("nan")], pl.List(pl.Float32)))

        if self._names is None:
            self._names = classes
        foreign = ~table[VALUE].is_in(self._names)
        if foreign.any():
            row = foreign.arg_true()[0]
            raise DataError(
                f"labels/{self.label} of {root}: row {row} of column {VALUE} is none of the task's "
                f"{len(self._names)} classes; name every class in `classes` or correct the label"
            )

        number = pl.col(VALUE).replace_strict(self._names, range(len(self._names)), return_dtype=pl.Float32)
        return table.select(*SAMPLE, target=pl.concat_list(number.fill_null(float("nan"))))

    def fit(self, targets: NDArray[np.float32]) -> None:
        """Learn nothing: the classes are known from the labels."""

    def state(self) -> dict[str, Any]:
        """Return the classes."""
        return {"classes": self.output_names}

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore the classes; ValueError for anything but a list of names."""
        self._names = the_list(state, "classes", (str,))

    def loss(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return the sum of cross-entropies and the number of known labels."""
        return known_class_cross_entropy(outputs, targets)

    def probabilities(self, outputs: Tensor) -> Tensor:
        """Apply the softmax, in float32."""
        return outputs.float().softmax(dim=-1)

    def predicted_columns(self, probabilities: NDArray[np.float32]) -> dict[str, list[Any]]:
        """Return the most probable class and the probability of each class."""
        columns: dict[str, list[Any]] = {
            "predicted_categorical_value": [self.output_names[i] for i in probabilities.argmax(axis=1)]
        }
        for i, name in enumerate(self.output_names):
            columns[f"predicted_probability_{name}"] = probabilities[:, i].tolist()
        return columns
