"""A yes-or-no outcome."""

from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import polars as pl
from meds.schema import LabelSchema
from numpy.typing import NDArray
from torch import Tensor

from clintune import metrics
from clintune.cohort.labels import SAMPLE, read_labels
from clintune.core.errors import DataError
from clintune.tasks.base import Task, the_list
from clintune.tasks.losses import known_cross_entropy

VALUE = LabelSchema.boolean_value_name


class Binary(Task):
    """Predict `boolean_value` with one logit. `class_weight="balanced"` gives both classes the same say in the loss."""

    scoring: ClassVar = {"auroc": metrics.auroc, "auprc": metrics.auprc, "brier": metrics.brier, "ece": metrics.ece}

    def __init__(self, *, label: str, weight: float = 1.0, class_weight: Literal["balanced"] | None = None) -> None:
        super().__init__(label=label, weight=weight)
        self.class_weight = class_weight
        self._weights = [1.0, 1.0]

    @property
    def output_names(self) -> list[str]:
        """Return the label as the name of the one output."""
        return [self.label]

    def read(self, root: Path) -> pl.DataFrame | None:
        """Read `labels/<label>.parquet`, or the shards in `labels/<label>/`; a null label is unknown."""
        table = read_labels(root, self.label, VALUE, pl.Boolean)
        if table is None:
            return None
        value = pl.col(VALUE).cast(pl.Float32).fill_null(float("nan"))
        return table.select(*SAMPLE, target=pl.concat_list(value))

    def fit(self, targets: NDArray[np.float32]) -> None:
        """Set the weights of the classes to n / (2 n_class) where they are to be balanced.

        Raises DataError where balance is asked for and one class is missing.
        """
        if self.class_weight is None:
            return
        counts = [int((targets == value).sum()) for value in (0, 1)]
        if 0 in counts:
            kind = ("negative", "positive")[counts.index(0)]
            raise DataError(f"labels/{self.label}: the training split has no {kind} label; set class_weight to null")
        self._weights = [sum(counts) / (2 * count) for count in counts]

    def state(self) -> dict[str, Any]:
        """Return the weights of the classes."""
        return {"class_weights": self._weights}

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore the weights of the classes; ValueError for anything but two numbers above 0."""
        weights = the_list(state, "class_weights", (int, float))
        if len(weights) != 2 or not all(0 < weight < float("inf") for weight in weights):
            raise ValueError("does not hold two class_weights above 0")
        self._weights = weights

    def loss(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return the sum of cross-entropies and the number of known labels."""
        return known_cross_entropy(outputs, targets, self._weights)

    def probabilities(self, outputs: Tensor) -> Tensor:
        """Apply the logistic function, in float32."""
        return outputs.float().sigmoid()

    def predicted_columns(self, probabilities: NDArray[np.float32]) -> dict[str, list[Any]]:
        """Return probability and, at the threshold 0.5, decision."""
        return predicted_boolean(probabilities)


def predicted_boolean(probabilities: NDArray[np.float32]) -> dict[str, list[Any]]:
    """Return the columns of the prediction schema for the probabilities [N, 1] of one yes-or-no outcome."""
    risks = probabilities[:, 0]
    return {"predicted_boolean_value": (risks >= 0.5).tolist(), "predicted_boolean_probability": risks.tolist()}
