"""Metrics of predicted amounts: targets [N] or [N, 1], predictions [N, 3] as value, low and high.

Low and high bound a central interval of the task's level.
"""

import numpy as np

from clintune.metrics.base import AnyFloats, Floats, Metric, divide, weighted_mean

_CONSTANT = 1e-12
"""Variance, as a share of the mean square, below which weighted values are all the same."""


def _errors(targets: Floats, predicted: AnyFloats) -> Floats:
    """Return predicted minus true value [N]; NaN where the true value is unknown."""
    return predicted[:, 0].astype(np.float64) - targets.reshape(len(targets))


def _mae(targets: Floats, predicted: AnyFloats, weights: Floats) -> Floats:
    return weighted_mean(np.abs(_errors(targets, predicted)), weights)


def _rmse(targets: Floats, predicted: AnyFloats, weights: Floats) -> Floats:
    return np.sqrt(weighted_mean(_errors(targets, predicted) ** 2, weights))


def _r2(targets: Floats, predicted: AnyFloats, weights: Floats) -> Floats:
    """Return 1 - mean squared error / variance, with the mean and variance of each weighting."""
    targets = targets.reshape(len(targets))
    if np.isnan(targets).all():
        return np.full(len(weights), np.nan)

    # Shifted, because mean squares of large numbers lose the digits of a small variance.
    shifted = targets - np.nanmedian(targets)
    square = weighted_mean(shifted**2, weights)
    variance = square - weighted_mean(shifted, weights) ** 2
    variance = np.where(variance > _CONSTANT * square, variance, 0.0)
    return 1 - divide(weighted_mean(_errors(targets, predicted) ** 2, weights), variance)


def _coverage(targets: Floats, predicted: AnyFloats, weights: Floats) -> Floats:
    targets = targets.reshape(len(targets))
    inside = (predicted[:, 1] <= targets) & (targets <= predicted[:, 2])
    return weighted_mean(np.where(np.isnan(targets), np.nan, inside), weights)


mae = Metric(
    name="mae",
    title="Mean absolute error",
    meaning="How far predicted and true value lie apart on average, in the unit of the value.",
    compute=_mae,
    higher_is_better=False,
    bounds=(0.0, np.inf),
    hub_id="mae",
)
rmse = Metric(
    name="rmse",
    title="Root mean squared error",
    meaning=(
        "Square root of the mean squared difference of predicted and true value, in the unit of "
        "the value: a few large errors count more than many small ones."
    ),
    compute=_rmse,
    higher_is_better=False,
    bounds=(0.0, np.inf),
)
r2 = Metric(
    name="r2",
    title="R²",
    meaning=(
        "Share of the variance of the true values that the predictions explain (coefficient of "
        "determination): 1 is perfect, 0 is no better than predicting everybody's mean, below 0 is "
        "worse than that. Undefined where all true values are the same."
    ),
    compute=_r2,
    chance=0.0,
    bounds=(-np.inf, 1.0),
    hub_id="r_squared",
)


def coverage(level: float) -> Metric:
    """Make the share of true values within the interval, which should hold `level` of them.

    Neither a higher nor a lower one is better as such: `coverage_gap` has a direction.
    """
    return Metric(
        name="coverage",
        title="Interval coverage",
        meaning=(
            f"Share of true values within the predicted interval, its ends included. It should be "
            f"{level:.0%}: with less, the intervals are too narrow; with more, too wide."
        ),
        compute=_coverage,
        higher_is_better=None,
    )


def coverage_gap(level: float) -> Metric:
    """Make the absolute difference of coverage and `level`, of which lower is better."""

    def gap(targets: Floats, predicted: AnyFloats, weights: Floats) -> Floats:
        return np.abs(_coverage(targets, predicted, weights) - level)

    return Metric(
        name="coverage_gap",
        title="Interval coverage gap",
        meaning=(
            "How far the share of true values within the predicted interval lies from the "
            f"{level:.0%} that it should hold: 0 is perfect. It does not say how wide the "
            "intervals are."
        ),
        compute=gap,
        higher_is_better=False,
    )
