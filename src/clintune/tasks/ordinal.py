"""One of several classes that have an order, as the stages of a disease."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from clintune.core.errors import ConfigError
from clintune.core.numbers import is_finite
from clintune.metrics import classification, ordinal
from clintune.metrics.ordinal import median_class
from clintune.tasks.base import Float32s, Task, known_only
from clintune.tasks.linear import LinearModel
from clintune.tasks.multiclass import Multiclass

_LEAST = 1e-6
"""Least probability of a class in a logarithm."""
_LEAST_STEP = 1e-3
"""Least distance between the base logits of two neighbouring classes."""


class Ordinal(Multiclass):
    """One of C ordered classes: predict `categorical_value` by cumulative logits (McCullagh, 1980).

    `classes` names the classes from lowest to highest. There are C - 1 outputs. Output k moves the
    logit of "class k or higher" relative to that of the class below, and never breaks their order.
    Outputs of 0 give the shares of the training labels. Raises ConfigError for fewer than two
    classes, or a class that is named twice.
    """

    metrics = (
        ordinal.quadratic_kappa,
        ordinal.class_mae,
        classification.multiclass_auroc,
        classification.accuracy,
        classification.multiclass_brier,
        classification.top_label_ece,
    )

    def __init__(self, *, label: str, classes: list[str], weight: float = 1.0) -> None:
        super().__init__(label=label, weight=weight, classes=classes)
        if len(set(classes)) < max(2, len(classes)):
            raise ConfigError(
                f"classes of '{label}' are two or more, each named once, from lowest to highest"
            )
        self._base = [0.0] * (len(classes) - 1)

    def fit(self, targets: Float32s) -> None:
        """Learn the logits of "class k or higher" from the training labels, rounded to a tenth."""
        known = targets[~np.isnan(targets)]
        higher = np.array([(known >= k).sum() for k in range(1, len(self.classes))])
        shares = (higher + 0.5) / (len(known) + 1)
        self._base = np.round(np.log(shares / (1 - shares)), 1).tolist()

    def state(self) -> dict[str, Any]:
        """Return the classes and the logits."""
        return {"classes": self.classes, "base": self._base}

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore classes and logits; ValueError where they do not go together."""
        base: Any = state.get("base")
        is_list = state.keys() == {"classes", "base"} and isinstance(base, list)
        if not is_list or not all(map(is_finite, base)):
            raise ValueError("does not hold classes and base, a list of numbers")
        super().load_state({"classes": state["classes"]})
        if len(base) != len(self.classes) - 1:
            raise ValueError("does not hold one number of base fewer than classes")
        self._base = [float(value) for value in base]

    @property
    def output_names(self) -> list[str]:
        """Return one name for each class above the lowest."""
        return [f"{name} or higher" for name in self.classes[1:]]

    @property
    def predicted_names(self) -> list[str]:
        """Return the classes, each of which has a probability."""
        return self.classes

    def linear_models(self, targets: Tensor) -> Iterator[tuple[LinearModel, Tensor, slice]]:
        """Yield one model of all cumulative logits."""
        return Task.linear_models(self, targets)

    def loss(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return the sum of negative log-likelihoods, and the number of known labels."""
        known, filled, truth = known_only(outputs, targets)
        chances = self._chances(filled).gather(1, truth.long())[:, 0]
        return torch.where(known, -chances.clamp(min=_LEAST).log(), 0.0).sum(), known.sum()

    def predict(self, outputs: Tensor) -> Tensor:
        """Return the probability of each class [N, C]."""
        return self._chances(outputs.to(torch.promote_types(outputs.dtype, torch.float32))).float()

    def decisions(self, predicted: Float32s) -> list[str]:
        """Return the median class, which has the least expected error in classes."""
        return [self.classes[int(number)] for number in median_class(predicted)]

    def _chances(self, outputs: Tensor) -> Tensor:
        """Return the probabilities [N, C] of outputs [N, C - 1]."""
        base = torch.tensor(self._base, dtype=outputs.dtype, device=outputs.device)

        # The logit falls from class to class by a softplus; without outputs it falls by the step.
        steps = torch.clamp(base[:-1] - base[1:], min=_LEAST_STEP)
        inverse = steps + torch.log(-torch.expm1(-steps))  # its softplus is the step itself
        falls = functional.softplus(outputs[:, 1:] + inverse)
        first = outputs[:, :1] + base[:1]
        cumulative = torch.cat([first, first - falls.cumsum(dim=1)], dim=1).sigmoid()

        # The probability of a class is the difference of two cumulative ones.
        ones, zeros = torch.ones_like(cumulative[:, :1]), torch.zeros_like(cumulative[:, :1])
        return torch.cat([ones, cumulative], dim=1) - torch.cat([cumulative, zeros], dim=1)
