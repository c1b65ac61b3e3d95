"""What a task itself draws of its predictions, as curves of survival."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from matplotlib.figure import Figure as Canvas

from clintune.core.disclosure import SMALLEST_SHOWN
from clintune.evaluation.context import Context
from clintune.evaluation.page import Page
from clintune.report.section import Block, Heading, Picture, Section, Text
from clintune.tasks.figure import Figure


def run(context: Context) -> dict[str, Any] | None:
    """Return the points of each figure of a task; None for one of too few patients."""
    found = {}
    for name, part in context.held_out.items():
        if figures := context.tasks[name].figures:
            found[name] = [figure.points(part) for figure in figures]
    return found or None


def section(result: Mapping[str, Any], page: Page) -> Section:
    """Draw the figures of each task from their points."""
    blocks: list[Block] = []
    for task, drawn in result.items():
        blocks += [Heading(task)] if len(result) > 1 else []
        for figure, points in zip(page.tasks[task].figures, drawn, strict=True):
            if points is None:
                few = f"{figure.title}: not drawn, of fewer than {SMALLEST_SHOWN} patients."
                blocks.append(Text(few))
                continue
            draw = partial(_draw, figure, points)
            caption = f"{figure.title}. {figure.caption}"
            blocks.append(Picture(draw, figure.size, f"{task}: {figure.title}", caption))
    return Section("Predicted and observed", blocks)


def _draw(figure: Figure, points: Any, canvas: Canvas) -> None:
    figure.draw(canvas, points)
