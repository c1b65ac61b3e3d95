"""The class of metrics, and the arithmetic that they share."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
AnyFloats = NDArray[np.floating]
Compute = Callable[[Floats, AnyFloats, Floats], Floats]
"""Targets, predictions and weights [R, N] to [R] values."""


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A score of predictions, with all that a page says of it.

    A metric reads `targets` [N] or [N, T] (NaN is unknown and left out) and `predicted` [N] or
    [N, P]. With `weights` [R, N] it scores R weightings of the N samples at once and returns [R]
    values: a bootstrap is a reweighting, so all its replicates share one sorting. Without weights
    it returns a float. An undefined value (one class only, nothing labelled, a prediction that is
    not finite) is NaN.
    """

    name: str
    """Key in `metrics.json` and in `trainer.metric`."""
    title: str
    """Name in tables and on axes."""
    meaning: str
    """Text of the glossary: one or two sentences that name estimator, ties and truncation."""
    compute: Compute
    higher_is_better: bool | None = True
    """None where neither direction is better: such a metric chooses no model."""
    chance: float | None = None
    """Value of a model that has learnt nothing, where it is the same for all data."""
    bounds: tuple[float, float] = (0.0, 1.0)
    """Least and greatest value."""
    hub_id: str | None = None
    """Name in Hugging Face's `evaluate`, for model cards."""
    of_calibration: bool = False
    """Whether it measures calibration; such a metric is shown before and after calibration."""

    @overload
    def __call__(self, targets: AnyFloats, predicted: AnyFloats, weights: None = None) -> float: ...
    @overload
    def __call__(self, targets: AnyFloats, predicted: AnyFloats, weights: Floats) -> Floats: ...

    def __call__(
        self, targets: AnyFloats, predicted: AnyFloats, weights: Floats | None = None
    ) -> float | Floats:
        """Score predictions, under each row of `weights` where there are any."""
        rows = np.ones((1, len(targets))) if weights is None else np.asarray(weights, np.float64)
        truth, answers = np.asarray(targets, np.float64), np.asarray(predicted)

        # Where shapes differ, each sample has one target for all of its answers.
        known: NDArray[np.bool_] = ~np.isnan(truth)
        if known.shape != answers.shape:
            known = np.asarray(known.any(axis=tuple(range(1, known.ndim))))

        # One prediction that is not finite makes the score undefined.
        finite = np.isfinite(answers[known]).all()
        values = self.compute(truth, answers, rows) if finite else np.full(len(rows), np.nan)
        return float(values[0]) if weights is None else values

    def signed(self, value: float) -> float:
        """Return `value` with the sign by which higher is better."""
        return -value if self.higher_is_better is False else value


def divide(numerator: Floats, denominator: Floats) -> Floats:
    """Divide, with NaN where the denominator is 0."""
    quotient: Floats = np.full(np.broadcast_shapes(numerator.shape, denominator.shape), np.nan)
    np.divide(numerator, denominator, out=quotient, where=denominator != 0)
    return quotient


def weighted_mean(values: AnyFloats, weights: Floats) -> Floats:
    """Return the mean [R] of values [N] under weights [R, N], without NaN values."""
    known = ~np.isnan(values)
    kept = weights[:, known]
    return divide(kept @ np.asarray(values[known], np.float64), kept.sum(axis=1))


def defined_mean(values: Sequence[Floats]) -> Floats:
    """Return the mean over arrays, entry by entry, without NaN; NaN where no array has a value."""
    table = np.stack(values)
    defined = ~np.isnan(table)
    return divide(np.where(defined, table, 0.0).sum(axis=0), defined.sum(axis=0).astype(np.float64))
