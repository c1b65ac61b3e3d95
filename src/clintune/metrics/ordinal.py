"""Metrics of ordered classes: targets are class numbers [N] or [N, 1], predictions [N, C].

Predictions are probabilities of the classes. AUROC over classes is that of
`classification.multiclass_auroc`.
"""

import numpy as np

from clintune.metrics.base import AnyFloats, Floats, Metric, divide, weighted_mean

_HALF = 0.5 - 1e-6
"""Half of the probability, less the rounding of sums of single-precision numbers."""
_CONSTANT = 1e-12


def median_class(probabilities: AnyFloats) -> Floats:
    """Return the number [N] of the first class at which the cumulative probability reaches 0.5.

    The median has the least expected absolute error in class numbers, and uses their order: the
    most probable class does neither.
    """
    below = np.cumsum(np.asarray(probabilities, np.float64), axis=1) < _HALF
    classes: Floats = np.minimum(below.sum(axis=1), probabilities.shape[1] - 1).astype(np.float64)
    return classes


def _quadratic_kappa(targets: Floats, probabilities: AnyFloats, weights: Floats) -> Floats:
    """Return 1 - mean squared class difference / that of independent answers of the same shares."""
    truth = targets.reshape(len(targets))
    answer = np.where(np.isnan(truth), np.nan, median_class(probabilities))
    observed = weighted_mean((answer - truth) ** 2, weights)

    # Independent answers: E[(a - t)^2] = E[a^2] + E[t^2] - 2 E[a] E[t].
    squares = weighted_mean(answer**2, weights) + weighted_mean(truth**2, weights)
    product = weighted_mean(answer, weights) * weighted_mean(truth, weights)
    expected = squares - 2 * product
    expected = np.where(expected > _CONSTANT * squares, expected, 0.0)
    return 1 - divide(observed, expected)


def _class_mae(targets: Floats, probabilities: AnyFloats, weights: Floats) -> Floats:
    errors = median_class(probabilities) - targets.reshape(len(targets))
    return weighted_mean(np.abs(errors), weights)


quadratic_kappa = Metric(
    name="quadratic_kappa",
    title="Quadratic weighted kappa",
    meaning=(
        "Agreement of predicted and true class beyond chance (Cohen, 1968), where a miss by two "
        "classes counts four times a miss by one; predicted is the median class, at which the "
        "cumulative probability reaches one half. 0 is chance, 1 is perfect. Undefined where one "
        "and the same class is predicted and true for all."
    ),
    compute=_quadratic_kappa,
    chance=0.0,
    bounds=(-1.0, 1.0),
)
class_mae = Metric(
    name="class_mae",
    title="Mean class error",
    meaning=(
        "By how many classes the predicted class lies off on average; predicted is the median "
        "class, at which the cumulative probability reaches one half. 0 is perfect."
    ),
    compute=_class_mae,
    higher_is_better=False,
    bounds=(0.0, np.inf),
)
