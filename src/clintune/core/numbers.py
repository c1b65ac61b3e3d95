"""What may pass for a number in the files of strangers."""

import math
from typing import Any


def is_finite(value: Any) -> bool:
    """Return whether a value is a finite number, and no bool."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def rounded(value: float, digits: int = 2) -> float:
    """Return a number to so many digits that count: many people may have the result, one alone the number itself."""
    return float(f"{value:.{digits - 1}e}")
