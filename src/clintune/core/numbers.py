"""Small questions about numbers: whether a value is one, and how many digits of it to show."""

import math
from typing import Any


def is_finite(value: Any) -> bool:
    """Return whether a value is a finite number and no bool."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def rounded(value: float, digits: int = 2) -> float:
    """Round a value to `digits` significant digits, so that it does not identify one person."""
    return float(f"{value:.{digits - 1}e}")
