"""Scores by group of subjects (site, sex, device) and by output of a task (phenotype, class)."""

from collections.abc import Mapping

import numpy as np
import polars as pl
from numpy.typing import NDArray

from clintune.contracts import Predictions
from clintune.evaluation.intervals import Interval, intervals
from clintune.evaluation.scored import Scored, of_view
from clintune.evaluation.subjects import take
from clintune.metrics.classification import auprc, auroc
from clintune.tasks.base import Task

VIEW_METRICS = (auroc, auprc)
"""What scores a yes-or-no view of a task."""
UNKNOWN = "unknown"
"""The group of subjects that the table of groups does not list."""


def by_group(
    tasks: Mapping[str, Scored],
    groups: Mapping[str, pl.DataFrame],
    *,
    replicates: int = 1000,
    seed: int = 0,
) -> dict[str, dict[str, dict[str, dict[str, Interval]]]]:
    """Score each group by itself: column, group, task, metric.

    `groups[cohort]` holds `subject_id` and one column a grouping; a column may stand in some cohorts' tables only.
    """
    columns = sorted(
        {name for table in groups.values() for name in table.columns if name != "subject_id"}
    )
    result: dict[str, dict[str, dict[str, dict[str, Interval]]]] = {}
    for column in columns:
        labels = {
            name: group_of(scored.predictions, groups, column) for name, scored in tasks.items()
        }
        result[column] = {}
        for group in np.unique(np.concatenate(list(labels.values()))).tolist():
            parts = {
                name: s.of(take(s.predictions, labels[name] == group)) for name, s in tasks.items()
            }
            kept = {name: part for name, part in parts.items() if len(part.predictions)}
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


def by_view(
    predictions: Predictions, task: Task, *, replicates: int = 1000, seed: int = 0
) -> dict[str, dict[str, Interval]]:
    """Score each phenotype, each class against the others, or each other yes-or-no view by itself: name, metric."""
    found = {}
    for view in task.binary_views:
        scored = of_view(predictions, view, VIEW_METRICS)
        found[view.name] = intervals({view.name: scored}, replicates=replicates, seed=seed)[
            view.name
        ]
    return found
