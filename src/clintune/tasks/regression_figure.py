"""True values, or residuals, of patients in groups by predicted value."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from clintune.contracts import Predictions
from clintune.core.disclosure import SMALLEST_SHOWN
from clintune.tasks.base import Float32s
from clintune.tasks.figure import Figure, equal_groups

_GROUPS = 10
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def values_figure(unit: str) -> Figure:
    """Return the figure of true against predicted values; `unit` stands behind a name."""
    caption = (
        "Dots are medians, lines hold half and nine tenths of the true values; on the dashed line, "
        "predictions are right."
    )
    return _figure(f"True and predicted value{unit}", caption, unit, residual=False)


def residuals_figure(unit: str) -> Figure:
    """Return the figure of residuals, true less predicted value."""
    caption = (
        "True less predicted value: groups off the dashed line are predicted too high or too low."
    )
    return _figure(f"Residuals{unit}", caption, unit, residual=True)


def _figure(title: str, caption: str, unit: str, *, residual: bool) -> Figure:
    groups = (
        f"Samples in up to {_GROUPS} groups of equal size by predicted value, none of fewer than "
        f"{SMALLEST_SHOWN}."
    )
    return Figure(
        title=title,
        caption=f"{groups} {caption}",
        points=partial(_group_points, residual=residual),
        draw=partial(_draw_groups, unit=unit, residual=residual),
    )


def _grouped(predictions: Predictions) -> list[Float32s]:
    """Return the rows (true, predicted) of groups by predicted value.

    Each group has 11 or more subjects, and about 22 samples or more.
    """
    target, predicted = predictions.targets[:, 0], predictions.predicted[:, 0]
    num_known = int((~np.isnan(target)).sum())
    number = min(_GROUPS, num_known // (2 * SMALLEST_SHOWN))
    if not number:
        return []
    pairs = np.stack([target, predicted], axis=1)
    return [pairs[rows] for rows in equal_groups(predictions, predicted, number)]


def _group_points(predictions: Predictions, *, residual: bool) -> list[dict[str, Any]] | None:
    """Return the median prediction of each group, and quantiles of its true values or residuals."""
    groups = [
        {
            "predicted": float(np.median(rows[:, 1])),
            "quantiles": np.quantile(
                rows[:, 0] - rows[:, 1] if residual else rows[:, 0], _QUANTILES
            ).tolist(),
        }
        for rows in _grouped(predictions)
    ]
    return groups or None


def _draw_groups(
    canvas: Any, points: Sequence[Mapping[str, Any]], *, unit: str, residual: bool
) -> None:
    """Draw median, quartiles and outer twentieths of true values, or of residuals, by group."""
    # Draw each group at the median of its predictions.
    axes = canvas.subplots()
    middles = [group["predicted"] for group in points]
    for middle, group in zip(middles, points, strict=True):
        lowest, low, median, high, highest = group["quantiles"]
        axes.plot([middle, middle], [lowest, highest], color="C0", lw=1)
        axes.plot([middle, middle], [low, high], color="C0", lw=3)
        axes.plot(middle, median, "o", color="C1", ms=5)

    # Draw the line on which predictions are right.
    ends = [min(middles), max(middles)]
    axes.plot(ends, [0, 0] if residual else ends, color="0.5", lw=1, ls="--")
    axes.set(
        xlabel=f"predicted value{unit}",
        ylabel=f"true less predicted{unit}" if residual else f"true value{unit}",
    )
