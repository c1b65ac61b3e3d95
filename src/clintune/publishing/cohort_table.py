"""The table of subjects, samples and labels by split that a card shows; no count under 11 can be read or worked out."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clintune.cohort.samples import Samples
from clintune.evaluation.disclosure import hide_small
from clintune.experiment.folds import rows_by_split
from clintune.publishing.question_names import output_name
from clintune.tasks.base import Task
from clintune.tasks.questions import YES_OR_NO


class CountRow(NamedTuple):
    """Counts of one thing by split, as text, in the order of `SPLITS`."""

    name: str
    counts: list[str]


def cohort_table(
    samples: Samples, split: NDArray[np.str_], tasks: Mapping[str, Task]
) -> dict[str, list[CountRow]]:
    """Return the rows of each cohort: subjects, samples, and the labels of each answer of each task.

    Samples without a label are a row of their own where there are any: their number follows from the others.
    """
    return {
        index.name: _rows(samples, np.where(samples.cohort == index.name, split, ""), tasks)
        for index in samples.indexes
    }


def _rows(samples: Samples, split: NDArray[np.str_], tasks: Mapping[str, Task]) -> list[CountRow]:
    rows = list(rows_by_split(split).values())
    subjects = np.array([[len(np.unique(samples.subject[part])) for part in rows]])
    sizes = np.array([[len(part) for part in rows]])
    table = [CountRow("subjects", *hide_small(subjects)), CountRow("samples", *hide_small(sizes))]
    for name, task in tasks.items():
        targets = samples.targets(name)
        if targets.shape[1]:
            table += _labels(name, task, targets, rows)
    return table


def _labels(
    name: str, task: Task, targets: NDArray[np.float32], rows: Sequence[NDArray[np.int64]]
) -> list[CountRow]:
    """Return a row for each answer to each question of a task; of one without questions, the samples with a label."""
    if task.questions:
        asked = [
            (output_name(name, q.name), q.answers, targets[:, q.column]) for q in task.questions
        ]
    elif (positive := task.positives(targets)) is not None:
        unknown = np.isnan(targets).any(axis=1)
        asked = [(name, YES_OR_NO, np.where(unknown, np.nan, positive > 0).astype(np.float32))]
    else:
        unknown = np.isnan(targets).any(axis=1)
        asked = [(name, ("known",), np.where(unknown, np.nan, 0).astype(np.float32))]
    return [
        row for which, answers, column in asked for row in _answers(which, answers, column, rows)
    ]


def _answers(
    which: str, names: Sequence[str], column: NDArray[np.float32], rows: Sequence[NDArray[np.int64]]
) -> list[CountRow]:
    """Return a row for each answer of a column of targets, and one of the samples of each split that have none."""
    answers = [f"{which} = {name}" for name in names]
    by_split = [
        np.bincount(column[part][~np.isnan(column[part])].astype(int), minlength=len(names))
        for part in rows
    ]
    counts = np.stack(by_split, axis=1)

    unlabelled = np.array([len(part) for part in rows]) - counts.sum(axis=0)
    if unlabelled.any():
        answers, counts = [*answers, f"{which} unlabelled"], np.vstack([counts, unlabelled])
    return [
        CountRow(answer, texts) for answer, texts in zip(answers, hide_small(counts), strict=True)
    ]
