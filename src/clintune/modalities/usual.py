"""Which values are usual: a typing error, or a sensor gone wild, must not move the statistics of everybody."""

from math import ceil, floor

import numpy as np
from numpy.typing import NDArray

_FEWEST = 11
_SIZES = 16
"""Sizes of numbers an octave."""
_SMALLEST = 2.0**-149
_LARGEST = _SIZES * (149 + 128) + 1
"""The sizes of the least and the greatest float32."""
_PART = 2**20
_FAR = 1000.0
_DEVIATIONS = 3.3
"""Deviations of a bell curve that its middle nine tenths spread over."""


def usual_values(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Mark the usual ones among values [N] in any order."""
    order = np.argsort(values, kind="stable")
    marks = np.ones(len(values), bool)
    marks[order] = usual(values[order], np.ones(len(values)), np.zeros(len(values)))
    return marks


def usual(
    values: NDArray[np.float64], counts: NDArray[np.float64], stds: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Mark which of ascending values [N], seen so many times with such deviations, are no typing errors.

    A value is usual within `_FAR` times the spread of the middle nine tenths from their median. Where these are all
    one value, as zeros of a channel that rests, it is usual, and the others are judged among themselves. Fewer than
    `_FEWEST` are all usual.
    """
    number = counts.sum() - 1
    if number + 1 < _FEWEST:
        return np.ones(len(values), bool)
    ranks = [ceil(0.05 * number), number // 2, floor(0.95 * number)]
    low, middle, high = np.searchsorted(counts.cumsum(), ranks, side="right")
    with np.errstate(over="ignore"):
        spread = max(values[high] - values[low], _DEVIATIONS * stds[middle])
        marks: NDArray[np.bool_] = np.abs(values - values[middle]) <= _FAR * spread
    if spread > 0:
        return marks

    others = values != values[middle]
    marks = ~others
    marks[others] = usual(values[others], counts[others], stds[others])
    return marks


class Totals:
    """Running number, sum and sum of squares of numbers that come in parts, of usual ones alone (`usual`)."""

    def __init__(self) -> None:
        self.all = (0, 0.0, 0.0)
        self._sizes = np.zeros(
            (3, 2 * _LARGEST + 1)
        )  # the same three of numbers of like size, ascending

    def add(self, values: NDArray[np.float64]) -> None:
        """Add numbers [N] that float32 can hold."""
        number, total, squares = self.all
        self.all = (
            number + len(values),
            total + float(values.sum()),
            squares + float((values**2).sum()),
        )

        for part in np.split(values, range(_PART, len(values), _PART)):
            octaves = np.log2(np.maximum(np.abs(part), _SMALLEST) / _SMALLEST)
            size = _LARGEST + (np.sign(part) * np.floor(1 + _SIZES * octaves)).astype(np.int64)
            for row, weights in zip(self._sizes, (np.ones_like(part), part, part**2), strict=True):
                row += np.bincount(size, weights, minlength=len(row))

    def of_usual(self) -> tuple[int, float, float]:
        """Return the three of all numbers where all are usual, else of those whose size is."""
        known = self._sizes[:, self._sizes[0] > 0]
        counts, means, squares = known[0], known[1] / known[0], known[2] / known[0]
        variances = squares - means**2
        stds = np.sqrt(np.where(variances > 1e-12 * squares, variances, 0.0))  # less is rounding
        marks = usual(means, counts, stds)
        number, total, squared = known[:, marks].sum(1).tolist()
        return self.all if marks.all() else (int(number), total, squared)
