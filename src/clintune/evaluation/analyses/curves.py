"""How well risks rank, and whether they come true: ROC, precision-recall and calibration curves."""

from collections.abc import Mapping, Sequence
from functools import partial
from textwrap import fill
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.stats import binomtest
from sklearn.metrics import precision_recall_curve, roc_curve

from clintune.contracts import Predictions
from clintune.core.disclosure import SMALLEST_SHOWN
from clintune.evaluation.context import Context
from clintune.evaluation.page import Page
from clintune.evaluation.subjects import subjects_having
from clintune.metrics.classification import calibration_curve
from clintune.report.section import Block, Heading, Picture, Section, Text
from clintune.report.svg import COLORS, FAINT, kept_points
from clintune.tasks.base import Task

Floats = NDArray[np.floating]
_CAPTION = (
    "Left: lowering the alarm threshold finds more of those with the outcome (up) at the price of "
    "more false alarms (right); the dashed line is chance. Middle: of those flagged, how many are "
    "right, with the share expected from flagging at random dashed. Right: the risk that was "
    "predicted against what happened, in groups of equal size with 95 % intervals; on the dashed "
    "line, a predicted 30 % happens in 30 of 100."
)
_FOLDS = (
    " The curves put the folds together, so their area can differ a little from the mean over "
    "folds in the tables."
)


class Line(NamedTuple):
    """One curve: its name, outcomes [n] of 0 and 1, and risks [n]."""

    name: str
    targets: Floats
    risks: Floats

    @property
    def is_plottable(self) -> bool:
        """Return whether both outcomes are frequent enough to be shown."""
        positive = int(self.targets.sum())
        return min(positive, len(self.targets) - positive) >= SMALLEST_SHOWN


def run(context: Context) -> dict[str, Any] | None:
    """Return the points of each task with yes-or-no views, None for one of too few patients."""
    found = {
        name: _points(part, context.tasks[name])
        for name, part in context.held_out.items()
        if context.tasks[name].binary_views
    }
    return found or None


def section(result: Mapping[str, Any], page: Page) -> Section:
    """Return the curves of each task."""
    blocks: list[Block] = []
    explained = _CAPTION + (_FOLDS if page.metrics.get("folds") else "")
    few = (
        f"No curves: with fewer than {SMALLEST_SHOWN} patients with or without the outcome they "
        "would say little and could point at single patients."
    )

    for task, points in result.items():
        blocks += [Heading(task)] if len(result) > 1 else []
        if points is None:
            blocks.append(Text(few))
            continue
        title = f"{task}: ROC, precision-recall and calibration curves of held-out patients"
        blocks.append(Picture(partial(_draw, points=points), (9.6, 3.3), title, explained))
        explained = ""  # once is enough
    return Section("Curves", blocks)


def _points(predictions: Predictions, task: Task) -> dict[str, Any] | None:
    """Return the points of the curves of a task, None where too few patients have an outcome."""
    lines, pooled = lines_of(predictions, task)
    if not lines or not pooled.is_plottable:
        return None

    return {"lines": list(map(_line_points, lines)), "calibration": _calibration(pooled)}


def _line_points(line: Line) -> dict[str, Any]:
    """Return the points of one curve; each distinct risk gives one."""
    false, true, _ = roc_curve(line.targets, line.risks, drop_intermediate=False)
    precision, recall, _ = precision_recall_curve(line.targets, line.risks)
    return {
        "name": line.name,
        "roc": _thinned(false, true),
        # The last point is of no risk at all, where precision means nothing.
        "precision_recall": _thinned(recall[-2::-1], precision[-2::-1]),
        "prevalence": float(line.targets.mean()),
    }


def lines_of(predictions: Predictions, task: Task) -> tuple[list[Line], Line]:
    """Return the curves to draw of a task, and one of all pairs of sample and view together."""
    views = task.binary_views
    targets = np.stack([view.outcome(predictions.targets) for view in views], axis=1)
    risks = np.stack([view.risk(predictions.predicted) for view in views], axis=1)
    known = ~np.isnan(targets)
    pooled = Line("all together" if len(views) > 1 else task.label, targets[known], risks[known])

    columns = zip(views, targets.T, risks.T, known.T, strict=True)
    each = [Line(view.name or task.label, y[k], p[k]) for view, y, p, k in columns]
    enough = [subjects_having(predictions, view) >= SMALLEST_SHOWN for view in views]
    pairs = zip(each, enough, strict=True)
    drawn = [line for line, is_shown in pairs if is_shown and line.is_plottable]
    return (drawn if 0 < len(drawn) <= len(COLORS) else [pooled] * pooled.is_plottable), pooled


def _thinned(x: Floats, y: Floats) -> list[list[float]]:
    """Return the two coordinates of a curve, of as many of its points as can be told apart."""
    kept = kept_points(len(x))
    return [part[kept].round(6).tolist() for part in (x, y)]


def _calibration(line: Line) -> dict[str, list[float]]:
    """Return predicted and observed risk of groups of 11 predictions or more, with intervals."""
    bins = int(np.clip(len(line.targets) // 30, 2, 10))
    curve = calibration_curve(line.targets, line.risks, bins)
    kept = curve.counts >= SMALLEST_SHOWN
    observed, counts = curve.observed[kept], curve.counts[kept]
    pairs = zip(np.rint(observed * counts), counts, strict=True)
    tests = [binomtest(int(events), int(number)) for events, number in pairs]
    intervals = [test.proportion_ci(0.95, "wilson") for test in tests]
    return {
        "predicted": curve.predicted[kept].tolist(),
        "observed": observed.tolist(),
        "low": [interval.low for interval in intervals],
        "high": [interval.high for interval in intervals],
        "counts": counts.tolist(),
    }


def _draw(canvas: Figure, points: Mapping[str, Any]) -> None:
    """Draw the three panels side by side."""
    roc, precision, calibration = canvas.subplots(1, 3)
    lines: Sequence[Mapping[str, Any]] = points["lines"]
    for line, color in zip(lines, COLORS, strict=False):
        roc.plot(*line["roc"], color=color, lw=2, label=fill(line["name"], 24))
        precision.step(*line["precision_recall"], color=color, lw=2, where="pre")
        by_chance = color if len(lines) > 1 else FAINT
        precision.axhline(line["prevalence"], color=by_chance, lw=1, ls="--")

    roc.plot([0, 1], [0, 1], color=FAINT, lw=1, ls="--")
    roc.text(0.62, 0.54, "chance", color=FAINT, rotation=37, rotation_mode="anchor")
    _frame(roc, "Ranking (ROC)", "False alarms among those without", "Found among those with")
    _frame(
        precision, "Precision and recall", "Found among those with", "Correct among those flagged"
    )
    _draw_calibration(calibration, points["calibration"])
    if len(lines) > 1:
        roc.legend(loc="lower right", fontsize=8)


def _draw_calibration(axes: Axes, curve: Mapping[str, Sequence[float]]) -> None:
    counts = curve["counts"]
    axes.plot([0, 1], [0, 1], color=FAINT, lw=1, ls="--")
    axes.vlines(curve["predicted"], curve["low"], curve["high"], color=COLORS[0], lw=1.2)
    axes.plot(curve["predicted"], curve["observed"], color=COLORS[0], marker="o", ms=5, lw=1.2)
    if counts:
        few, many = min(counts), max(counts)
        size = f"{few:,}" if few == many else f"{few:,} to {many:,}"
        axes.text(1.0, 0.01, f"{size} predictions a point", ha="right", fontsize=8, color=FAINT)
    _frame(axes, "Calibration", "Predicted risk", "Observed share")


def _frame(axes: Axes, title: str, x: str, y: str) -> None:
    axes.set(
        title=title, xlabel=x, ylabel=y, xlim=(-0.02, 1.02), ylim=(-0.02, 1.06), aspect="equal"
    )
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(mpl.ticker.FixedLocator([0, 0.25, 0.5, 0.75, 1]))
        axis.set_major_formatter(mpl.ticker.PercentFormatter(1.0, decimals=0))
