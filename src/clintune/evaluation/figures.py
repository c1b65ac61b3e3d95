"""The report's figures as inline SVG: the same input gives the same text, and colours are told apart by everybody."""

import io
import re
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from textwrap import fill
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from clintune.contracts import Predictions
from clintune.core.text import visible
from clintune.evaluation.disclosure import SMALLEST_SHOWN
from clintune.evaluation.subjects import subjects_having
from clintune.metrics import Metric
from clintune.metrics.classification import calibration_curve, pr_curve, roc_curve
from clintune.tasks.base import Task

Floats = NDArray[np.floating]
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Palette of Okabe and Ito (2008)."""
INK, FAINT = "#22303c", "#8a97a3"
STYLE: dict[Any, Any] = {
    "axes.prop_cycle": cycler(color=COLORS),
    "font.family": ["sans-serif"],
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#e6eaee",
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "clintune",
}


class Line(NamedTuple):
    """One curve: its name, outcomes [n] of 0 and 1, and risks [n]."""

    name: str
    targets: Floats
    risks: Floats

    @property
    def plottable(self) -> bool:
        """Whether both outcomes are frequent enough to be shown."""
        positive = int(self.targets.sum())
        return min(positive, len(self.targets) - positive) >= SMALLEST_SHOWN


def lines_of(predictions: Predictions, task: Task) -> tuple[list[Line], Line]:
    """Return the curves to draw of a task with yes-or-no views, and one of all pairs of sample and view together."""
    views = task.binary_views
    targets = np.stack([view.outcome(predictions.targets) for view in views], axis=1)
    risks = np.stack([view.risk(predictions.predicted) for view in views], axis=1)
    known = ~np.isnan(targets)
    pooled = Line("all together" if len(views) > 1 else task.label, targets[known], risks[known])

    columns = zip(views, targets.T, risks.T, known.T, strict=True)
    each = [Line(view.name or task.label, y[k], p[k]) for view, y, p, k in columns]
    enough = [subjects_having(predictions, view) >= SMALLEST_SHOWN for view in views]
    drawn = [
        line for line, is_shown in zip(each, enough, strict=True) if is_shown and line.plottable
    ]
    return (drawn if 0 < len(drawn) <= len(COLORS) else [pooled] * pooled.plottable), pooled


def curves(lines: Sequence[Line], pooled: Line, prefix: str, title: str) -> str:
    """Draw ROC, precision-recall and calibration curve side by side."""

    def draw(figure: Figure) -> None:
        roc, precision, calibration = figure.subplots(1, 3)
        for line, color in zip(lines, COLORS, strict=False):
            roc.plot(
                *roc_curve(line.targets, line.risks), color=color, lw=2, label=fill(line.name, 24)
            )
            found = pr_curve(line.targets, line.risks)
            precision.step(*found, color=color, lw=2, where="pre", label=line.name)
            precision.axhline(
                line.targets.mean(), color=color if len(lines) > 1 else FAINT, lw=1, ls="--"
            )
        roc.plot([0, 1], [0, 1], color=FAINT, lw=1, ls="--")
        roc.text(0.62, 0.54, "chance", color=FAINT, rotation=37, rotation_mode="anchor")
        _frame(roc, "Ranking (ROC)", "False alarms among those without", "Found among those with")
        _frame(
            precision,
            "Precision and recall",
            "Found among those with",
            "Correct among those flagged",
        )
        _calibration(calibration, pooled)
        if len(lines) > 1:
            roc.legend(loc="lower right", fontsize=8)

    return render(draw, (9.6, 3.3), prefix, title)


def history(
    records: Sequence[Mapping[str, Any]], tasks: Mapping[str, Task], prefix: str, title: str
) -> str:
    """Draw the losses and, where one was taken, each task's tuning score by step: fits faint, means strong."""
    keys = {f"tuning/{name}/{task.metrics[0].name}": name for name, task in sorted(tasks.items())}
    scores = {key: name for key, name in keys.items() if any(key in record for record in records)}
    titles = dict.fromkeys(tasks[name].metrics[0].title for name in scores.values())

    def draw(figure: Figure) -> None:
        panels = figure.subplots(1, 2 if scores else 1, squeeze=False)[0]
        _series(panels[0], records, "loss", COLORS[0], "training")
        _series(panels[0], records, "tuning/loss", COLORS[1], "tuning")
        panels[0].set(title="Loss (lower is better)", xlabel="step")
        for (key, name), color in zip(scores.items(), COLORS, strict=False):
            _series(panels[1], records, key, color, name)
        if scores:
            panels[1].set(title=f"{', '.join(titles)} on the tuning split", xlabel="step")
        for axes in panels:
            axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(integer=True))
            if axes.get_legend_handles_labels()[0]:
                axes.legend(fontsize=8)

    return render(draw, (9.6, 2.9), prefix, title)


def fit_of(record: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return which of a run's fits wrote a record of its history."""
    return tuple(record.get(name) for name in ("repeat", "fold", "member"))


def bars(
    panels: Mapping[str, Mapping[str, Mapping[str, Any]]],
    metrics: Mapping[str, Metric],
    prefix: str,
    title: str,
) -> str:
    """Draw one panel a task: a bar from chance, or from 0, and an interval for each variant's value of its metric."""
    variants = list(next(iter(panels.values())))

    def draw(figure: Figure) -> None:
        grid = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for axes, (name, panel) in zip(grid, panels.items(), strict=True):
            metric = metrics[name]
            start = metric.chance or 0.0
            for row, variant in enumerate(variants):
                score = panel[variant]
                if score["value"] is None:
                    continue
                color = (
                    COLORS[0]
                    if row == 0
                    else COLORS[5]
                    if variant.startswith("only")
                    else "#b9c3cc"
                )
                axes.barh(row, score["value"] - start, left=start, color=color, height=0.62)
                if score["low"] is not None:
                    axes.plot([score["low"], score["high"]], [row, row], color=INK, lw=1.4)
                beside = axes.get_yaxis_transform()  # x from 0 to 1 over the panel, y in rows
                axes.text(
                    1.01, row, f"{score['value']:.2f}", va="center", fontsize=8, transform=beside
                )
            axes.set(title=fill(name, 18), xlabel=metric.title)
            if metric.chance is not None and np.isfinite(metric.bounds[1]):
                _from_chance(axes, metric, panels.values())
            axes.axvline(start, color=INK, lw=1)
            axes.tick_params(axis="y", length=0)
            axes.grid(axis="y", visible=False)
        grid[0].set_yticks(range(len(variants)), variants)
        grid[0].invert_yaxis()

    return render(draw, (9.6, 1.1 + 0.27 * len(variants)), prefix, title)


def _from_chance(
    axes: Axes, metric: Metric, panels: Iterable[Mapping[str, Mapping[str, Any]]]
) -> None:
    """Let an axis go from chance, or the lowest interval of all panels, to the best value."""
    chance, best = metric.chance or 0.0, metric.bounds[1]
    span = best - chance
    lows = [
        score["low"] for panel in panels for score in panel.values() if score["low"] is not None
    ]
    lowest = min([chance, *lows])
    axes.set(
        xlim=(lowest - 0.04 * span, best + 0.02 * span), xticks=[chance, chance + span / 2, best]
    )


def _calibration(axes: Axes, line: Line) -> None:
    bins = int(np.clip(len(line.targets) // 30, 2, 10))
    curve = calibration_curve(line.targets, line.risks, bins)
    kept = curve.counts >= SMALLEST_SHOWN
    predicted, observed, counts = curve.predicted[kept], curve.observed[kept], curve.counts[kept]
    low, high = _wilson(observed, counts)
    axes.plot([0, 1], [0, 1], color=FAINT, lw=1, ls="--")
    axes.vlines(predicted, low, high, color=COLORS[0], lw=1.2)
    axes.plot(predicted, observed, color=COLORS[0], marker="o", ms=5, lw=1.2)
    few, many = counts.min(initial=len(line.targets)), counts.max(initial=0)
    size = f"{few:,}" if few == many else f"{few:,} to {many:,}"
    axes.text(1.0, 0.01, f"{size} predictions a point", ha="right", fontsize=8, color=FAINT)
    _frame(axes, "Calibration", "Predicted risk", "Observed share")


def _wilson(share: Floats, counts: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Return the 95 % score interval of shares (Wilson, 1927)."""
    z2 = 1.959964**2
    centre = (share + z2 / (2 * counts)) / (1 + z2 / counts)
    half = (
        np.sqrt(z2)
        / (1 + z2 / counts)
        * np.sqrt(share * (1 - share) / counts + z2 / (4 * counts**2))
    )
    return centre - half, centre + half


def _frame(axes: Axes, title: str, x: str, y: str) -> None:
    axes.set(
        title=title, xlabel=x, ylabel=y, xlim=(-0.02, 1.02), ylim=(-0.02, 1.06), aspect="equal"
    )
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(mpl.ticker.FixedLocator([0, 0.25, 0.5, 0.75, 1]))
        axis.set_major_formatter(mpl.ticker.PercentFormatter(1.0, decimals=0))


def _series(
    axes: Axes, records: Sequence[Mapping[str, Any]], key: str, color: str, label: str
) -> None:
    fits: dict[tuple[Any, ...], list[tuple[int, float]]] = {}
    steps: dict[int, list[float]] = {}
    for record in records:
        if record.get(key) is not None:
            fits.setdefault(fit_of(record), []).append((record["step"], record[key]))
            steps.setdefault(record["step"], []).append(record[key])
    if not steps:
        return
    for points in fits.values() if len(fits) > 1 else ():
        axes.plot(*zip(*points, strict=True), color=color, lw=0.7, alpha=0.25)
    # The mean of the few fits that took more steps than most would jump.
    means = sorted(
        (step, float(np.mean(values)))
        for step, values in steps.items()
        if 2 * len(values) >= len(fits)
    )
    axes.plot(*zip(*means, strict=True), color=color, lw=1.8, label=label)


def render(
    draw: Callable[[Figure], None], size: tuple[float, float], prefix: str, title: str
) -> str:
    """Render a figure as an SVG element whose ids begin with `prefix`, so that many fit into one page.

    What is named in it may hold any character: controls and directions, which XML or a reader would obey, are written
    out, and a browser finds the glyphs of others. One too long for the figure cramps it.
    """
    buffer = io.StringIO()
    with mpl.rc_context(STYLE), warnings.catch_warnings():
        for harmless in (r"Glyph \d+ .* missing from font", "constrained_layout not applied"):
            warnings.filterwarnings("ignore", harmless, UserWarning)
        figure = Figure(figsize=size, layout="constrained")
        draw(figure)
        figure.savefig(
            buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None}
        )
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{prefix}-", text)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    text = text.replace("<svg", f'<svg role="img" aria-labelledby="{prefix}-title"', 1).replace(
        ">", f'><title id="{prefix}-title">{escape(title, quote=False)}</title>', 1
    )
    return "\n".join(map(visible, text.split("\n")))
