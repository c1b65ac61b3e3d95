"""A figure that a task brings to the report."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clintune.contracts import Predictions
from clintune.core.disclosure import SMALLEST_SHOWN

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


def equal_groups(
    predictions: Predictions, values: NDArray[np.floating], number: int
) -> list[NDArray[np.int64]]:
    """Return the rows of `number` groups of equal size by `values` [N], the lowest first.

    Samples with an unknown target are in no group. A group of fewer than 11 subjects is left out,
    so that a figure may show what it draws of the others.
    """
    known = np.flatnonzero(~np.isnan(predictions.targets).any(axis=1))
    groups = np.array_split(known[np.argsort(values[known], kind="stable")], number)
    subject = predictions.subject_id
    return [rows for rows in groups if len(np.unique(subject[rows])) >= SMALLEST_SHOWN]
