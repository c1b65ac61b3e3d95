"""Arithmetic on ranges of row numbers."""

import numpy as np
from numpy.typing import NDArray


def spans(
    starts: NDArray[np.int64], lengths: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the row numbers of several ranges, one range after the other, and the range of each.

    Range r starts at `starts[r]` and has `lengths[r]` rows. Both results are [sum of lengths].
    """
    which: NDArray[np.int64] = np.repeat(np.arange(len(starts)), lengths)
    before = np.cumsum(lengths) - lengths
    numbers: NDArray[np.int64] = np.arange(len(which)) + (starts - before)[which]
    return numbers, which
