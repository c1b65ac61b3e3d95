"""What each modality brings: the model with all of them, with each alone, and with each left out.

The model stays as trained and only its input changes, so this shows what the trained model relies
on; a model trained without a modality may make up for it.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from clintune.evaluation.context import HELD_OUT, WHOLE, ByTask, Context, Request
from clintune.evaluation.intervals import MEAN, bootstrap, to_differences, to_intervals, to_json
from clintune.evaluation.page import Page
from clintune.evaluation.scored import of_tasks
from clintune.metrics import Metric
from clintune.report.section import Block, Picture, Section, Text
from clintune.report.svg import COLORS, INK
from clintune.report.table import Cell, Number, Row, Score, Table
from clintune.tasks.base import Task

MAX_PANELS = 5
Panels = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""Task, then variant, to the plain values of an interval."""


def requests(modalities: Sequence[str]) -> list[Request]:
    """Return every variant but the whole model."""
    return [
        Request(variant=name, kept=kept)
        for name, kept in variants(modalities).items()
        if name != WHOLE
    ]


def variants(modalities: Iterable[str]) -> dict[str, frozenset[str]]:
    """Name the variants and the modalities that each keeps: `whole`, `only NAME`, `without NAME`.

    With two modalities, leaving one out is the other alone; with one there is nothing to compare.
    """
    everything = frozenset(modalities)
    named = {WHOLE: everything}
    if len(everything) > 1:
        named |= {f"only {name}": frozenset({name}) for name in sorted(everything)}
    if len(everything) > 2:
        named |= {f"without {name}": everything - {name} for name in sorted(everything)}
    return named


def run(context: Context) -> dict[str, Any] | None:
    """Return `scores` and `differences` of each variant, by task and metric."""
    predictions = {name: context.raw[HELD_OUT][name] for name in variants(context.modalities)}
    if len(predictions) == 1:
        return None
    return ablate(predictions, context.tasks, replicates=context.replicates)


def ablate(
    predictions: Mapping[str, ByTask],
    tasks: Mapping[str, Task],
    *,
    replicates: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Score every variant and compare it, on the same draws of subjects, with the whole model."""
    scored = {name: of_tasks(parts, tasks) for name, parts in predictions.items()}
    tables = {
        name: bootstrap(parts, replicates=replicates, seed=seed) for name, parts in scored.items()
    }
    return {
        name: {
            "scores": to_json(to_intervals(tables[name], parts)),
            "differences": to_json(to_differences(tables[WHOLE], tables[name])),
        }
        for name, parts in scored.items()
    }


def section(result: Mapping[str, Any], page: Page) -> Section:
    """Return bars of each variant, and differences to the whole model of the mean or only task."""
    known = {
        task: metric
        for task in result[WHOLE]["scores"]
        if (metric := page.metric(task)) is not None
    }
    main = MEAN if MEAN in known else next(iter(known))
    drawn = {main: known[main]} if len(known) > MAX_PANELS else known
    panels = {}
    for task, metric in drawn.items():
        panels[task] = {name: found["scores"][task][metric.name] for name, found in result.items()}

    explained = (
        "The trained model was asked again with only one kind of data, and with one kind left out. "
        "It was not trained anew, so this shows what this model relies on; a model trained without "
        "it might make up for some of the loss."
    )
    picture = Picture(
        partial(_draw, panels=panels, metrics=drawn),
        (9.6, 1.1 + 0.27 * len(result)),
        "Scores of the whole model, of each modality alone and with each modality left out",
        "Scores of the whole model, of each kind of data alone and with each left out; the "
        "thin lines are 95 % intervals.",
    )
    note = (
        "Changes are computed on the same draws of patients for both models; a range that "
        "excludes 0 speaks for a real change."
    )
    table = _table(result, main, known[main])
    blocks: list[Block] = [Text(explained), picture, table, Text(note, "note")]
    return Section("What each kind of data brings", blocks)


def _table(result: Mapping[str, Any], main: str, metric: Metric) -> Table:
    title = f"{metric.title}{', mean of all tasks' if main == MEAN else ''}"
    rows = []
    for name, found in result.items():
        difference = found["differences"][main][metric.name]
        cells: list[Cell] = [name, Score(found["scores"][main][metric.name])]
        is_whole = name == WHOLE
        cells += ["–", "–"] if is_whole else [Score(difference, style="signed")]
        cells += [] if is_whole else [Number(difference["p"])]
        rows.append(Row(cells))
    return Table(["Data", title, "Change from the whole model", "p-value"], rows)


def _draw(canvas: Figure, panels: Panels, metrics: Mapping[str, Metric]) -> None:
    """Draw one panel a task: a bar from chance, or from 0, and an interval for each variant."""
    names = list(next(iter(panels.values())))
    grid = canvas.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, (task, panel) in zip(grid, panels.items(), strict=True):
        metric = metrics[task]
        start = metric.chance or 0.0
        for row, (variant, score) in enumerate(panel.items()):
            if score["value"] is not None:
                _bar(axes, row, variant, score, start)

        axes.set(title=fill(task, 18), xlabel=metric.title)
        if metric.chance is not None and np.isfinite(metric.bounds[1]):
            _from_chance(axes, metric, panels)
        axes.axvline(start, color=INK, lw=1)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="y", visible=False)

    grid[0].set_yticks(range(len(names)), names)
    grid[0].invert_yaxis()


def _bar(axes: Axes, row: int, variant: str, score: Mapping[str, Any], start: float) -> None:
    if variant == WHOLE:
        color = COLORS[0]
    else:
        color = COLORS[5] if variant.startswith("only") else "#b9c3cc"
    axes.barh(row, score["value"] - start, left=start, color=color, height=0.62)
    if score["low"] is not None:
        axes.plot([score["low"], score["high"]], [row, row], color=INK, lw=1.4)
    beside = axes.get_yaxis_transform()  # x from 0 to 1 over the panel, y in rows
    axes.text(1.01, row, f"{score['value']:.2f}", va="center", fontsize=8, transform=beside)


def _from_chance(axes: Axes, metric: Metric, panels: Panels) -> None:
    """Set an axis from chance, or the lowest interval of all panels, to the best value."""
    chance, best = metric.chance or 0.0, metric.bounds[1]
    scores = [score for panel in panels.values() for score in panel.values()]
    lowest = min([chance, *(score["low"] for score in scores if score["low"] is not None)])
    axes.set(
        xlim=(lowest - 0.04 * (best - chance), best + 0.02 * (best - chance)),
        xticks=[chance, (chance + best) / 2, best],
    )
