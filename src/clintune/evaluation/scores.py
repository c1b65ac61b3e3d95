"""The scores of a run by split, task and metric, with intervals: what every evaluation has."""

from collections.abc import Mapping
from typing import Any

from clintune.core.disclosure import SMALLEST_SHOWN
from clintune.evaluation.context import WHOLE, Context
from clintune.evaluation.intervals import MEAN, intervals, to_json
from clintune.evaluation.page import SPLIT_TITLES, Page
from clintune.report.section import Block, Heading, Section, Text
from clintune.report.table import Cell, Count, Row, Score, Table


def run(context: Context) -> dict[str, Any]:
    """Return the scores of raw predictions: split, task, metric."""
    scored = {split: context.scored(context.raw[split][WHOLE]) for split in context.splits}
    return {
        split: to_json(intervals(parts, replicates=context.replicates))
        for split, parts in scored.items()
    }


def section(page: Page) -> Section:
    """Return a table a split: a row a task, a column a metric."""
    blocks: list[Block] = [Text(_explained(page))]
    for split, title in SPLIT_TITLES.items():
        if split in page.metrics:
            blocks += [Heading(title.capitalize()), *score_table(page, split)]

    note = f"Counts under {SMALLEST_SHOWN} are not shown, to protect patients."
    return Section("Scores", [*blocks, Text(note, "note")])


def score_table(page: Page, split: str, scores: Mapping[str, Any] | None = None) -> list[Block]:
    """Return a table of the metrics that all tasks have, and one of the others.

    They are those of raw predictions of a split where no others are given.
    """
    scores = page.metrics[split] if scores is None else scores
    common = set(page.titles).intersection(*scores.values())
    shared = [name for name in page.titles if name in common]
    rows = []
    for task, metrics in scores.items():
        counts = next(iter(metrics.values()))
        cells: list[Cell] = [task, page.count(counts["n_subjects"], split, "subjects")]
        cells.append(page.count(counts["n_samples"], split, "samples"))
        cells += [positives(page, task, counts), *(Score(metrics[name]) for name in shared)]
        rows.append(Row(cells, "mean" if task == MEAN else ""))

    head = ["Task", "Patients", "Predictions", "With outcome"]
    table = Table([*head, *(page.titles[name] for name in shared)], rows)
    others = [
        Row([task, page.titles[name], Score(metrics[name])])
        for task, metrics in scores.items()
        for name in page.titles
        if name in metrics and name not in shared
    ]
    return [table, Table(["Task", "Metric", "Value"], others)] if others else [table]


def positives(page: Page, task: str, counts: Mapping[str, Any]) -> Cell:
    """Return how many samples of a task with one positive answer are positive."""
    if page.kind(task) not in ("binary", "other") or counts["n_positive"] is None:
        return "–"
    return Count(counts["n_positive"], counts["n_samples"])


def _explained(page: Page) -> str:
    """Return what the figures are, and which way is better."""
    text = "What the model says before calibration. " if page.has_questions else ""
    text += (
        "Each figure stands with its 95 % interval, found by drawing the patients again and again. "
    )
    for is_better, words in ((True, "higher is better"), (False, "lower is better")):
        titles = [m.title for m in page.all_metrics if m.higher_is_better is is_better]
        text += f"{'; '.join(titles)}: {words}. " if titles else ""
    return text + "The glossary at the end explains each."
