"""The figures of a benchmark's page, in the style of the reports."""

from collections.abc import Sequence
from itertools import cycle
from textwrap import fill

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, NullFormatter

from clintune.benchmark.method_names import is_own, label
from clintune.benchmark.table import Row, costs
from clintune.report.section import Picture
from clintune.report.svg import COLORS, FAINT, INK

MAX_PANELS = 5
OWN, OTHER = COLORS[1], COLORS[0]
PRICES = {
    "fit_seconds": ("seconds to fit", "log"),
    "peak_mb": ("peak memory, MB", "linear"),
    "parameters": ("weights fitted", "log"),
}
"""The title and the scale of each price's axis."""


def dots(rows: Sequence[Row], title: str) -> Picture:
    """Draw one panel a task, the main one first.

    A method is a dot and an interval; a dashed line stands at the best baseline.
    """
    main = rows[0].main
    tasks = [main, *(task for task in rows[0].primary if task != main)]
    tasks = tasks if len(tasks) <= MAX_PANELS else [main]

    def draw(figure: Figure) -> None:
        panels = figure.subplots(1, len(tasks), sharey=True, squeeze=False)[0]
        for axes, task in zip(panels, tasks, strict=True):
            metric = rows[0].primary[task]
            for place, row in enumerate(rows):
                score, color = row.scores[task][metric.name], _color(row)
                axes.plot([score.low, score.high], [place, place], color=color, lw=1.6)
                axes.plot(score.value, place, "o", color=color, ms=5)
                if row.entry.method == row.baseline:
                    axes.axvline(score.value, color=OTHER, lw=1, ls="--")

            axes.set(title=fill(task, 18), xlabel=metric.title)
            if metric.chance is not None:
                axes.axvline(metric.chance, color=FAINT, lw=1)
            axes.tick_params(axis="y", length=0)

        panels[0].set_yticks(range(len(rows)), [label(row.entry.method) for row in rows])
        panels[0].set_ylim(len(rows) - 0.5, -0.5)  # the first on top

    caption = (
        "Dots are the mean over the seeds, bars 95 % intervals over patients and seeds; orange: "
        "clintune's own. Dashed: the best of the others."
    )
    return Picture(draw, (9.6, 1.0 + 0.25 * len(rows)), title, caption)


def lines(
    parts: Sequence[Sequence[Row]], numbers: Sequence[float], axis: str, title: str
) -> Picture:
    """Draw the score of each method over a number.

    `numbers` says where on the axis each of the `parts` stands.
    """
    methods = list(dict.fromkeys(row.entry.method for rows in parts for row in rows))

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for place, (method, color) in enumerate(zip(methods, cycle(COLORS), strict=False)):
            placed = [(x, row) for x, rows in zip(numbers, parts, strict=True) for row in rows]
            found = [(x, row.score) for x, row in placed if row.entry.method == method]
            values = [score.value for _, score in found]
            lows, highs = [score.low for _, score in found], [score.high for _, score in found]

            # Bars of the same number stand side by side.
            aside = (place - (len(methods) - 1) / 2) * 0.006 * max(numbers)
            x, style = [number + aside for number, _ in found], "-" if is_own(method) else "--"
            axes.plot(x, values, style, marker="o", ms=4, color=color, label=label(method))
            axes.vlines(x, lows, highs, color=color, lw=1, alpha=0.5)

        axes.set(xlabel=axis, ylabel=parts[0][0].primary[parts[0][0].main].title, xticks=numbers)
        axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))

    caption = (
        "Full lines are clintune's own models, dashed ones the others; the bars are 95 % intervals."
    )
    return Picture(draw, (9.6, 3.6), title, caption)


def prices(rows: Sequence[Row], title: str) -> Picture:
    """Draw the score of each method over its seconds, memory and weights, where it has such."""

    def draw(figure: Figure) -> None:
        panels = figure.subplots(1, len(PRICES), sharey=True)
        for axes, (name, (words, scale)) in zip(panels, PRICES.items(), strict=True):
            for row in rows:
                if price := costs(row.entry)[name]:
                    _point(axes, row, price)
            axes.set(xscale=scale, xlabel=words)
            axes.xaxis.set_major_formatter(EngFormatter(sep=""))
            axes.xaxis.set_minor_formatter(NullFormatter())
            axes.margins(x=0.3)
        figure.axes[0].set_ylabel(rows[0].primary[rows[0].main].title)

    caption = (
        "What a score costs: clintune's own models and the best of the others. Numbers of weights "
        "are those that were fitted, of one fold and member."
    )
    return Picture(draw, (9.6, 3.4), title, caption)


def _point(axes: Axes, row: Row, price: float) -> None:
    score, at = row.score, (price, row.score.value)
    axes.plot([price, price], [score.low, score.high], color=_color(row), lw=1, alpha=0.4)
    axes.plot(price, score.value, "o", color=_color(row), ms=5)
    axes.annotate(row.entry.method, at, (5, 4), textcoords="offset points", fontsize=7, color=INK)


def _color(row: Row) -> str:
    return OWN if is_own(row.entry.method) else OTHER
