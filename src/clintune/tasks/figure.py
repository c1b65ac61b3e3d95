"""A figure that a task brings to the report."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from clintune.contracts import Predictions

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A figure of held-out predictions.

    `points` returns what is drawn as plain values, which `metrics.json` keeps: nothing of fewer
    than 11 subjects, and None where there are too few for the whole figure. `draw(canvas, points)`
    fills a figure of matplotlib from them alone; colours are those of its cycle ("C0", "C1", ...).
    """

    title: str
    caption: str
    points: Callable[[Predictions], Any]
    draw: Callable[["Canvas", Any], None]
    size: tuple[float, float] = (9.6, 3.6)
    """Width and height in inches."""
