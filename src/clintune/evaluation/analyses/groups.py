"""Scores by group of subjects: site, sex, device, as the tables of cohorts name them."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from clintune.contracts import Predictions
from clintune.core.disclosure import SMALLEST_SHOWN
from clintune.evaluation.context import Context
from clintune.evaluation.intervals import Interval, intervals, to_json
from clintune.evaluation.page import Page
from clintune.evaluation.scored import Scored
from clintune.evaluation.subjects import take
from clintune.report.section import Block, Heading, Section, Text
from clintune.report.small_cells import FEW
from clintune.report.table import Cell, Count, Row, Table

UNKNOWN = "unknown"
"""The group of subjects that the table of groups does not list."""


def run(context: Context) -> dict[str, Any] | None:
    """Return the scores of raw predictions: column, group, task, metric."""
    return group_scores(context, context.scored(context.held_out))


def group_scores(context: Context, scored: Mapping[str, Scored]) -> dict[str, Any] | None:
    """Return the plain scores of each group, None where no cohort names groups."""
    if not context.groups:
        return None

    found = {}
    by_column = by_group(scored, context.groups, replicates=context.replicates)
    for column, groups in by_column.items():
        found[column] = {group: to_json(table) for group, table in groups.items()}
    return found


def section(result: Mapping[str, Any], page: Page) -> Section:
    """Return a table a grouping."""
    explained = (
        "The first score of each task within each group. Small groups have wide ranges, and many "
        "comparisons make some differences appear by chance."
    )
    return Section("Groups of patients", [Text(explained), *group_tables(result, page)])


def group_tables(result: Mapping[str, Any], page: Page) -> list[Block]:
    """Return one table a grouping: a row a group, a column a task; small groups without scores.

    Subjects who stand in none of its groups are hidden as if they were one.
    """
    blocks: list[Block] = []
    everybody = max(_size(scores) for scores in page.held_out.values())
    for column, groups in result.items():
        scored = set[str]().union(*groups.values())
        names = [task for task in page.tasks if task in scored]
        titles = [f"{task}, {page.tasks[task].metrics[0].title}" for task in names]

        rows, rest = [], everybody
        for group, scores in groups.items():
            size = max(map(_size, scores.values()))
            rows.append(_row(group, scores, size, names, page))
            rest -= size
        table = Table(["Group", "Patients", *titles], rows, sums="columns", rest=rest)
        blocks += [Heading(f"By {column}"), table]
    return blocks


def _row(group: str, scores: Mapping[str, Any], size: int, names: list[str], page: Page) -> Row:
    cells: list[Cell] = []
    for task in names:
        metric = page.tasks[task].metrics[0]
        is_large = task in scores and _size(scores[task]) >= SMALLEST_SHOWN
        values = scores[task][metric.name] if is_large else None
        cells.append(page.score(values, metric, absent="not defined" if is_large else "too few"))
    return Row([group if size >= SMALLEST_SHOWN else FEW, Count(size), *cells])


def _size(metrics: Mapping[str, Mapping[str, Any]]) -> int:
    return int(next(iter(metrics.values()))["n_subjects"])


def by_group(
    tasks: Mapping[str, Scored],
    groups: Mapping[str, pl.DataFrame],
    *,
    replicates: int = 1000,
    seed: int = 0,
) -> dict[str, dict[str, dict[str, dict[str, Interval]]]]:
    """Score each group by itself: column, group, task, metric.

    `groups[cohort]` holds `subject_id` and one column a grouping; a column may stand in some
    cohorts' tables only.
    """
    columns = {name for table in groups.values() for name in table.columns} - {"subject_id"}
    result: dict[str, dict[str, dict[str, dict[str, Interval]]]] = {}
    for column in sorted(columns):
        labels = {name: group_of(part.predictions, groups, column) for name, part in tasks.items()}
        result[column] = {}

        # Each group is scored on the tasks that it has samples of.
        for group in np.unique(np.concatenate(list(labels.values()))).tolist():
            kept = {}
            for name, scored in tasks.items():
                part = take(scored.predictions, labels[name] == group)
                if len(part):
                    kept[name] = scored.of(part)
            result[column][group] = intervals(kept, replicates=replicates, seed=seed)
    return result


def group_of(
    predictions: Predictions, groups: Mapping[str, pl.DataFrame], column: str
) -> NDArray[np.str_]:
    """Return the group [N] of each row's subject as text."""
    listed = {
        (cohort, subject): str(group)
        for cohort, table in groups.items()
        if column in table.columns
        for subject, group in table.select("subject_id", column).drop_nulls().iter_rows()
    }
    keys = zip(predictions.cohort.tolist(), predictions.subject_id.tolist(), strict=True)
    return np.array([listed.get(key, UNKNOWN) for key in keys], dtype=np.str_)
