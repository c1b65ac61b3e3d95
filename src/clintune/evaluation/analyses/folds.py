"""How much depends on which patients are tested: the scores of each fold of a run by itself."""

from collections.abc import Sequence
from statistics import median_low
from typing import Any

from clintune.evaluation.context import WHOLE, Context
from clintune.evaluation.intervals import MEAN, fold_values
from clintune.evaluation.page import Page
from clintune.report.section import Section, Text
from clintune.report.table import Cell, Number, Row, Score, Table

MAX_FOLDS = 10


def run(context: Context) -> list[dict[str, Any]] | None:
    """Return the scores of each fold: split, task, metric; None for a run without folds."""
    if context.split is not None:
        return None
    by_split = {
        split: fold_values(context.scored(context.raw[split][WHOLE])) for split in context.splits
    }
    folds = zip(*by_split.values(), strict=True)
    return [dict(zip(by_split, fold, strict=True)) for fold in folds]


def section(result: Sequence[dict[str, Any]], page: Page) -> Section:
    """Return the primary score of each task fold by fold; range and middle where they are many."""
    head = [f"Fold {number}" for number in range(1, len(result) + 1)]
    rows = []
    for task, metrics in page.held_out.items():
        metric = page.metric(task)
        if metric is None:
            continue

        # Many folds are shown by their range and middle.
        values = [fold.get("held_out", {}).get(task, {}).get(metric.name) for fold in result]
        if len(result) > MAX_FOLDS:
            known = [value for value in values if value is not None]
            head = ["Lowest", "Median", "Highest"]
            values = [min(known), median_low(known), max(known)] if known else [None] * len(head)
        mean = Score(metrics[metric.name])
        cells: list[Cell] = [f"{task}, {metric.title}", *map(Number, values), mean]
        rows.append(Row(cells, "mean" if task == MEAN else ""))

    explained = (
        f"The first score of each task in the {len(result)} folds. How much they differ shows how "
        "much depends on which patients are tested."
    )
    return Section("Fold by fold", [Text(explained), Table(["Task", *head, "Mean"], rows)])
