"""Two groups of positive numbers far apart, such as one measurement in two units."""

import numpy as np
from numpy.typing import NDArray

FAR = 5.0
"""The smallest ratio between neighbours that parts two groups."""
_SMALLEST_SHARE = 0.05


def two_groups(
    values: NDArray[np.float64], weights: NDArray[np.float64] | None = None, fewest: int = 3
) -> float | None:
    """Return the ratio of the middles of two groups, the upper by the lower; None for one group.

    Only positive finite values [N] count, each as often as `weights` [N] say (once without). The
    groups part at the widest gap between neighbours, by their ratio, that leaves on each side at
    least `fewest` distinct values and a twentieth of the weight. A gap of less than `FAR` parts
    nothing. The middle is the weighted median. So the answer is at least `FAR`, and tells of a
    single value only where a group has only one.
    """
    weights = np.ones(len(values)) if weights is None else weights
    counts = np.isfinite(values) & (values > 0) & (weights > 0)
    distinct, places = np.unique(values[counts], return_inverse=True)
    if len(distinct) < 2:
        return None

    stand = np.bincount(places, weights[counts]).astype(np.float64)
    below, number = stand.cumsum()[:-1], np.arange(1, len(distinct))
    share = np.minimum(below, stand.sum() - below) / stand.sum()
    enough = (share >= _SMALLEST_SHARE) & (np.minimum(number, len(distinct) - number) >= fewest)

    # Gaps that differ by rounding alone are equal.
    gaps = np.where(enough, np.diff(np.log(distinct)), 0.0).round(9)
    cut = int(gaps.argmax()) + 1
    if gaps[cut - 1] < np.log(FAR).round(9):
        return None
    return _median(distinct[cut:], stand[cut:]) / _median(distinct[:cut], stand[:cut])


def _median(values: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    """Return the smallest of ascending values up to which half of the weight lies."""
    passed = weights.cumsum()
    return float(values[np.searchsorted(passed, passed[-1] / 2)])
