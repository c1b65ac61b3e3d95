"""How predictions are scored: NumPy in, floats out.
A metric knows its name, its meaning and which way is better.
"""

from clintune.metrics import classification, ordinal, regression
from clintune.metrics.base import Metric, defined_mean
from clintune.metrics.survival import survival_metrics

__all__ = ["Metric", "defined_mean", "known_names"]


def known_names() -> set[str]:
    """Return the names of all metrics of clintune."""
    found = [
        part for module in (classification, ordinal, regression) for part in vars(module).values()
    ]
    found += [
        *survival_metrics([1.0], (0.0, 1.0), []),
        regression.coverage(0.9),
        regression.coverage_gap(0.9),
    ]
    return {part.name for part in found if isinstance(part, Metric)}
