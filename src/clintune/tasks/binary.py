"""A yes-or-no outcome."""

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from meds.schema import LabelSchema
from numpy.typing import NDArray
from torch import Tensor

from clintune.core.errors import DataError
from clintune.metrics import classification
from clintune.tasks.base import Float32s, Task, the_list
from clintune.tasks.linear import LinearModel, YesNo
from clintune.tasks.losses import known_cross_entropy, log_losses
from clintune.tasks.questions import Question, yes_or_no


class Binary(Task):
    """A yes-or-no outcome: predict `boolean_value` with one logit.

    `class_weight="balanced"` gives both classes the same total weight in the loss.
    """

    label_columns = (LabelSchema.boolean_value_name,)
    decision_column = "predicted_boolean_value"
    metrics = (
        classification.auroc,
        classification.auprc,
        classification.brier,
        classification.ece,
    )

    def __init__(
        self, *, label: str, weight: float = 1.0, class_weight: Literal["balanced"] | None = None
    ) -> None:
        super().__init__(label=label, weight=weight)
        self.class_weight = class_weight
        self._weights = [1.0, 1.0]

    @property
    def output_names(self) -> list[str]:
        """Return the label as the name of the one output."""
        return [self.label]

    def fit(self, targets: Float32s) -> None:
        """Set the weights of balanced classes to n / (2 n_class).

        Raises DataError where balance is asked for and one class is missing.
        """
        if self.class_weight is None:
            return

        counts = [int((targets == value).sum()) for value in (0, 1)]
        if 0 in counts:
            kind = ("negative", "positive")[counts.index(0)]
            raise DataError(
                f"labels/{self.label}: the training split has no {kind} label; "
                "set class_weight to null"
            )
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

    def predict(self, outputs: Tensor) -> Tensor:
        """Apply the logistic function, in float32."""
        return outputs.float().sigmoid()

    def linear_models(self, targets: Tensor) -> Iterator[tuple[LinearModel, Tensor, slice]]:
        """Yield a logistic regression; the probe does not balance the classes."""
        yield YesNo(), targets[:, 0], slice(0, 1)

    @property
    def questions(self) -> list[Question]:
        """Return the one question, which has the name of the task."""
        return yes_or_no([""])

    def sample_loss(self, targets: Float32s, predicted: Float32s) -> Float32s:
        """Return the log loss of each sample."""
        return log_losses(self.questions, targets, predicted)

    @property
    def predicted_columns(self) -> list[str]:
        """Return the column of the prediction schema."""
        return ["predicted_boolean_probability"]

    def decisions(self, predicted: Float32s) -> NDArray[np.bool_]:
        """Return whether the risk is one half or more."""
        decided: NDArray[np.bool_] = predicted[:, 0] >= 0.5
        return decided
