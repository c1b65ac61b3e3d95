"""Mark usual values, so that a typing error or a wild sensor cannot move everybody's statistics."""

from math import ceil, floor

import numpy as np
from numpy.typing import NDArray

_FEWEST = 11
_SIZES = 16
"""Size classes of numbers per octave."""
_SMALLEST = 2.0**-149
_LARGEST = _SIZES * (149 + 128) + 1
"""The least float32 above 0, and the size class of the greatest."""
_PART = 2**20
_FAR = 1000.0
_DEVIATIONS = 3.3
"""Width of the middle nine tenths of a bell curve in deviations."""


def usual_values(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Mark the usual values [N] among values in any order."""
    order = np.argsort(values, kind="stable")
    marks = np.ones(len(values), bool)
    marks[order] = usual(values[order], np.ones(len(values)), np.zeros(len(values)))
    return marks


def usual(
    values: NDArray[np.float64], counts: NDArray[np.float64], stds: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Mark the usual ones among ascending values [N], each the mean of `counts` with `stds`.

    A value is usual if it lies within `_FAR` times the spread of the middle nine tenths from their
    median. Where these are all one value, like the zeros of a channel that rests, this value is
    usual, and the others are judged among themselves. Fewer than `_FEWEST` are all usual.
    """
    number = counts.sum() - 1
    if number + 1 < _FEWEST:
        return np.ones(len(values), bool)

    # Compare the distance from the median with the spread.
    ranks = [ceil(0.05 * number), number // 2, floor(0.95 * number)]
    low, middle, high = np.searchsorted(counts.cumsum(), ranks, side="right")
    with np.errstate(over="ignore"):
        spread = max(values[high] - values[low], _DEVIATIONS * stds[middle])
        marks: NDArray[np.bool_] = np.abs(values - values[middle]) <= _FAR * spread
    if spread > 0:
        return marks

    # The middle is one value: judge the others among themselves.
    others = values != values[middle]
    marks = ~others
    marks[others] = usual(values[others], counts[others], stds[others])
    return marks


class Totals:
    """Running number, sum and sum of squares of the usual numbers (`usual`) that come in parts."""

    def __init__(self) -> None:
        self.all = (0, 0.0, 0.0)
        self._sizes = np.zeros((3, 2 * _LARGEST + 1))  # the same three by size class, ascending

    def add(self, values: NDArray[np.float64]) -> None:
        """Add numbers [N] that float32 can hold."""
        number, total, squares = self.all
        number, total = number + len(values), total + float(values.sum())
        self.all = (number, total, squares + float((values**2).sum()))

        # Add to the size classes, part by part to save memory.
        for part in np.split(values, range(_PART, len(values), _PART)):
            octaves = np.log2(np.maximum(np.abs(part), _SMALLEST) / _SMALLEST)
            size = _LARGEST + (np.sign(part) * np.floor(1 + _SIZES * octaves)).astype(np.int64)
            for row, weights in zip(self._sizes, (np.ones_like(part), part, part**2), strict=True):
                row += np.bincount(size, weights, minlength=len(row))

    def of_usual(self) -> tuple[int, float, float]:
        """Return the three of all numbers if all are usual, else of those of usual size classes."""
        # Mean and deviation of each size class; a variance below 1e-12 is rounding.
        known = self._sizes[:, self._sizes[0] > 0]
        counts, means, squares = known[0], known[1] / known[0], known[2] / known[0]
        variances = squares - means**2
        stds = np.sqrt(np.where(variances > 1e-12 * squares, variances, 0.0))

        marks = usual(means, counts, stds)
        number, total, squared = known[:, marks].sum(1).tolist()
        return self.all if marks.all() else (int(number), total, squared)
