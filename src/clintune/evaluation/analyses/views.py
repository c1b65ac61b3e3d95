"""Scores of each phenotype, each class, or each other yes-or-no view by itself."""

from collections.abc import Mapping
from typing import Any

from clintune.contracts import Predictions
from clintune.core.disclosure import SMALLEST_SHOWN
from clintune.evaluation.context import Context
from clintune.evaluation.intervals import Interval, intervals, to_json
from clintune.evaluation.page import Page
from clintune.evaluation.scored import of_view
from clintune.evaluation.subjects import subjects_having
from clintune.metrics.classification import auprc, auroc
from clintune.report.section import Block, Heading, Section, Text
from clintune.report.table import Count, Row, Table
from clintune.tasks.base import Task

VIEW_METRICS = (auroc, auprc)
"""What scores a yes-or-no view of a task."""


def run(context: Context) -> dict[str, Any] | None:
    """Return who has each outcome, and its scores, of tasks with several: task, view."""
    found = {}
    for name, part in context.held_out.items():
        views = context.tasks[name].binary_views
        if len(views) > 1:
            scores = to_json(by_view(part, context.tasks[name], replicates=context.replicates))
            found[name] = {
                view.name: {
                    "num_patients": subjects_having(part, view),
                    "scores": scores[view.name],
                }
                for view in views
            }
    return found or None


def by_view(
    predictions: Predictions, task: Task, *, replicates: int = 1000, seed: int = 0
) -> dict[str, dict[str, Interval]]:
    """Score each yes-or-no view of a task by itself: name, metric."""
    found = {}
    for view in task.binary_views:
        scored = {view.name: of_view(predictions, view, VIEW_METRICS)}
        found[view.name] = intervals(scored, replicates=replicates, seed=seed)[view.name]
    return found


def section(result: Mapping[str, Any], page: Page) -> Section:
    """Return a table of the outcomes of each task that 11 patients or more have."""
    blocks: list[Block] = []
    for task, views in result.items():
        few, is_class = page.few(task), page.kind(task) == "classes"

        rows = []
        for name, view in views.items():
            scores = view["scores"]
            if name not in few:
                shown = [page.score(scores[metric.name], metric) for metric in VIEW_METRICS]
                rows.append(Row([name, Count(scores[auroc.name]["n_positive"]), *shown]))

        first, titles = "Class" if is_class else "Outcome", [m.title for m in VIEW_METRICS]
        blocks += [Heading(task), Table([first, "With it", *titles], rows, sums="columns")]
        if few:
            what = "classes" if is_class else "outcomes"
            note = (
                f"Not shown, to protect patients: {what} of fewer than {SMALLEST_SHOWN} "
                f"patients, {len(few)} here."
            )
            blocks.append(Text(note, "note"))
    return Section("Each outcome by itself", blocks)
