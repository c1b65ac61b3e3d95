"""A figure that a task brings to the report."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from clintune.contracts import Predictions

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A figure of held-out predictions.

    `draw` fills a figure of matplotlib: colours are those of its cycle ("C0", "C1", ...), and nothing is drawn of
    fewer than 11 subjects. `is_drawable` says whether there are enough; else the page says that there are too few.
    """

    title: str
    caption: str
    draw: Callable[["Canvas", Predictions], None]
    is_drawable: Callable[[Predictions], bool]
    size: tuple[float, float] = (9.6, 3.6)
    """Width and height in inches."""
