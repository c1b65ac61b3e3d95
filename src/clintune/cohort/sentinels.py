"""Sentinels: numbers such as -999 or 9999 that many exports write for a missing value."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

_NINES = [sign * number for sign in (-1, 1) for number in (99, 999, 9999, 99_999, 999_999)]
_ENDS = [-(2**15), 2**15 - 1, 2**16 - 1, -(2**31), 2**31]
"""The limits of the types of whole numbers, as float32 has them."""
SENTINELS = np.array([-1, *_NINES, *_ENDS], np.float64)
_SEVERAL = 2
_CLASSES = 3
"""The largest range of numbers that may be classes, as -1, 0 and 1."""


def is_sentinel(values: NDArray[np.floating[Any]]) -> NDArray[np.bool_]:
    """Mark the values [N] that are a sentinel."""
    return np.isin(values, SENTINELS)


def have_sentinels(
    counts: NDArray[np.int64], least: NDArray[np.float64], most: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Return which of several kinds of values have a sentinel that can hardly be a value [V].

    `counts` [V, S] says how often each sentinel occurs. All other values lie between `least` and
    `most` [V], which are NaN where there are no others. A sentinel stands out where it occurs
    several times and one of two things holds:

    - It is negative and no other value is, unless the values are a handful of classes.
    - No other value is as near to it as the others spread, or as half of their size.
    """
    least, most = least[:, None], most[:, None]
    width = np.maximum(most - least, np.maximum(np.abs(most), np.abs(least)) / 2)
    alone_negative = (least >= 0) & (SENTINELS < 0) & (most - least > _CLASSES)
    apart = (most + width < SENTINELS) | (least - width > SENTINELS) | alone_negative
    found: NDArray[np.bool_] = np.any((counts >= _SEVERAL) & (apart | np.isnan(least)), axis=1)
    return found
