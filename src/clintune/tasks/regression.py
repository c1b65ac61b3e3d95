"""A value, as days in hospital or a laboratory result, with an interval around it."""

from collections.abc import Sequence
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from clintune.core.errors import ConfigError, DataError
from clintune.core.numbers import is_finite, rounded
from clintune.metrics import Metric, regression
from clintune.tasks.base import Float32s, Task, known_only
from clintune.tasks.figure import Figure
from clintune.tasks.regression_figure import residuals_figure, values_figure

_IQR_OF_NORMAL = 1.349
"""Distance of the quartiles of a normal distribution, in standard deviations."""
_LOG_SPREAD = 5.0
"""Bound of the log of a predicted spread in units of the training spread, beyond sensible ones."""


class Regression(Task):
    """A value: predict `float_value`, and an interval that holds a share `interval` of values.

    `loss="gaussian"` predicts mean and spread by likelihood (Nix and Weigend, 1994).
    `loss="quantile"` predicts the median and both ends of the interval by the pinball loss (Koenker
    and Bassett, 1978), for any distribution. Values are centred on the training median and scaled
    by the quartiles, so that outliers count little. `unit` is shown beside values. Raises
    ConfigError for an interval that is no share, or another loss.
    """

    decision_column = "predicted_float_value"

    def __init__(
        self,
        *,
        label: str,
        weight: float = 1.0,
        loss: Literal["gaussian", "quantile"] = "gaussian",
        interval: float = 0.9,
        unit: str | None = None,
    ) -> None:
        super().__init__(label=label, weight=weight)
        if not 0 < interval < 1:
            raise ConfigError(
                f"interval {interval} is no share of values; give one between 0 and 1, as 0.9"
            )
        if loss not in ("gaussian", "quantile"):
            raise ConfigError(f"loss '{loss}' is neither gaussian nor quantile")
        self.kind = loss
        self.interval = interval
        self.unit = unit
        self._center, self._scale = 0.0, 1.0

    def fit(self, targets: Float32s) -> None:
        """Learn the median and the spread of the training values, both rounded.

        Raises DataError where all values are the same.
        """
        # Where both quartiles are equal, the standard deviation serves.
        known = targets[~np.isnan(targets)].astype(np.float64)
        low, middle, high = np.quantile(known, [0.25, 0.5, 0.75])
        spread = (high - low) / _IQR_OF_NORMAL or known.std()
        if not spread:
            raise DataError(
                f"labels/{self.label}: all training values are the same; "
                "correct the labels or the split, or drop the task"
            )
        self._center, self._scale = rounded(middle), rounded(spread)

    def state(self) -> dict[str, Any]:
        """Return median and spread."""
        return {"center": self._center, "scale": self._scale}

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore median and spread.

        Raises ValueError for anything but two finite numbers, the second above 0.
        """
        are_numbers = state.keys() == {"center", "scale"} and all(map(is_finite, state.values()))
        if not are_numbers or state["scale"] <= 0:
            raise ValueError("does not hold center and a scale above 0")
        self._center, self._scale = float(state["center"]), float(state["scale"])

    @property
    def output_names(self) -> list[str]:
        """Return mean and log of the spread, or the median and its distances to both ends."""
        if self.kind == "gaussian":
            return ["mean", "log_spread"]
        return ["median", "to_low", "to_high"]

    def loss(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return the sum of negative log-likelihoods or pinball losses, and the number of labels.

        Losses are in units of the training spread.
        """
        known, filled, truth = known_only(outputs, targets)
        values = (truth[:, 0] - self._center) / self._scale
        of_kind = self._gaussian if self.kind == "gaussian" else self._pinball
        losses = of_kind(filled, values)
        return torch.where(known, losses, 0.0).sum(), known.sum()

    def predict(self, outputs: Tensor) -> Tensor:
        """Return the value and the low and high end of the interval [N, 3]."""
        outputs = outputs.to(torch.promote_types(outputs.dtype, torch.float32))
        if self.kind == "gaussian":
            half = self._normal_width * _spread(outputs[:, 1])
            ends = [outputs[:, 0], outputs[:, 0] - half, outputs[:, 0] + half]
        else:
            ends = [outputs[:, 0], *_around(outputs)]
        return (self._center + self._scale * torch.stack(ends, dim=1)).float()

    @property
    def predicted_names(self) -> list[str]:
        """Return value, low and high end."""
        return ["value", "low", "high"]

    def decisions(self, predicted: Float32s) -> Float32s:
        """Return the value."""
        return predicted[:, 0]

    @property
    def metrics(self) -> Sequence[Metric]:
        """Return R² first, which has no unit, then errors in the unit, then interval metrics."""
        return (
            regression.r2,
            regression.mae,
            regression.rmse,
            regression.coverage(self.interval),
            regression.coverage_gap(self.interval),
        )

    def sample_loss(self, targets: Float32s, predicted: Float32s) -> Float32s:
        """Return the absolute error of each sample, in units of the training spread."""
        errors: Float32s = np.abs(targets[:, 0] - predicted[:, 0]) / np.float32(self._scale)
        return errors

    @property
    def figures(self) -> Sequence[Figure]:
        """Return the figures of true against predicted values, and of residuals."""
        unit = f" ({self.unit})" if self.unit else ""
        return [values_figure(unit), residuals_figure(unit)]

    @property
    def _normal_width(self) -> float:
        """Return the distance from the mean to an end of the interval, in standard deviations."""
        return NormalDist().inv_cdf((1 + self.interval) / 2)

    def _gaussian(self, outputs: Tensor, values: Tensor) -> Tensor:
        spread = _spread(outputs[:, 1])
        return ((values - outputs[:, 0]) / spread).pow(2) / 2 + spread.log()

    def _pinball(self, outputs: Tensor, values: Tensor) -> Tensor:
        rest = (1 - self.interval) / 2
        low, high = _around(outputs)
        ends = zip((outputs[:, 0], low, high), (0.5, rest, 1 - rest), strict=True)
        return torch.stack([_pinball(values - end, level) for end, level in ends]).sum(dim=0)


def _spread(log_spread: Tensor) -> Tensor:
    """Return a bounded spread: neither a division by it nor its logarithm overflows."""
    return (_LOG_SPREAD * torch.tanh(log_spread / _LOG_SPREAD)).exp()


def _around(outputs: Tensor) -> tuple[Tensor, Tensor]:
    """Return both ends of the interval around the median."""
    median, to_low, to_high = outputs.unbind(dim=1)
    return median - functional.softplus(to_low), median + functional.softplus(to_high)


def _pinball(error: Tensor, level: float) -> Tensor:
    return torch.maximum(level * error, (level - 1) * error)
