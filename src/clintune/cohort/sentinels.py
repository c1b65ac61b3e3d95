"""Numbers that many exports write where a value is missing: -999, 9999 and the like, told by where all others lie."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

_NINES = [sign * number for sign in (-1, 1) for number in (99, 999, 9999, 99_999, 999_999)]
_ENDS = [-(2**15), 2**15 - 1, 2**16 - 1, -(2**31), 2**31]
"""Of the types of whole numbers, as float32 has them."""
SENTINELS = np.array([-1, *_NINES, *_ENDS], np.float64)
_SEVERAL = 2
_CLASSES = 3
"""Range of numbers that may be classes, as -1, 0 and 1."""


def is_sentinel(values: NDArray[np.floating[Any]]) -> NDArray[np.bool_]:
    """Mark those of some values [N] that are a sentinel."""
    return np.isin(values, SENTINELS)


def have_sentinels(
    counts: NDArray[np.int64], least: NDArray[np.float64], most: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Return which of several kinds of values [V] have a sentinel that can hardly be one of them.

    `counts` [V, S] says how often each is among them; all others lie between `least` and `most` [V], which are NaN
    where there are none. It can hardly be one where several values are it, and where no other is negative as it is
    (unless they are a handful of classes), or none lies as near as the others spread, or as half of their size.
    """
    least, most = least[:, None], most[:, None]
    width = np.maximum(most - least, np.maximum(np.abs(most), np.abs(least)) / 2)
    alone_negative = (least >= 0) & (SENTINELS < 0) & (most - least > _CLASSES)
    apart = (most + width < SENTINELS) | (least - width > SENTINELS) | alone_negative
    found: NDArray[np.bool_] = np.any((counts >= _SEVERAL) & (apart | np.isnan(least)), axis=1)
    return found
