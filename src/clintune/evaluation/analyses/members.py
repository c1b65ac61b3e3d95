"""The members of an ensemble, each scored by itself."""

from collections.abc import Sequence
from typing import Any

from clintune.evaluation.context import HELD_OUT, MEMBER, Context
from clintune.evaluation.intervals import MEAN, plain_values
from clintune.evaluation.page import Page
from clintune.report.section import Section, Text
from clintune.report.table import Cell, Number, Row, Score, Table


def run(context: Context) -> list[dict[str, Any]] | None:
    """Return the held-out scores of each member: task, metric; None where there is one model."""
    members = [
        by_task for variant, by_task in context.raw[HELD_OUT].items() if variant.startswith(MEMBER)
    ]
    return [plain_values(context.scored(by_task)) for by_task in members] or None


def section(result: Sequence[dict[str, Any]], page: Page) -> Section:
    """Return the primary score of each task member by member."""
    rows = []
    for task, metrics in page.held_out.items():
        metric = page.metric(task)
        if metric is not None:
            values = [Number(member.get(task, {}).get(metric.name)) for member in result]
            cells: list[Cell] = [f"{task}, {metric.title}", *values, Score(metrics[metric.name])]
            rows.append(Row(cells, "mean" if task == MEAN else ""))
    explained = "Models trained with different seeds, each alone, and the average of their answers."
    head = ["Task", *(f"Member {number}" for number in range(1, len(result) + 1)), "Together"]
    return Section("Members of the ensemble", [Text(explained), Table(head, rows)])
