"""Subjects, samples and labels of each cohort by split."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clintune.cohort.samples import Samples
from clintune.core.disclosure import SMALLEST_SHOWN
from clintune.evaluation.context import Context
from clintune.evaluation.page import Page, output_name
from clintune.experiment.folds import SPLITS, rows_by_split
from clintune.report.section import Block, Section, Text
from clintune.report.table import Count, Row, Table
from clintune.tasks.base import Task
from clintune.tasks.questions import YES_OR_NO

ON_CARD = True
SUBJECTS, SAMPLES = "subjects", "samples"


def run(context: Context) -> dict[str, Any] | None:
    """Return the counts of each cohort by split; None for folds together, which share subjects."""
    if context.split is None:
        return None
    return cohort_counts(context.samples, context.split, context.tasks)


def cohort_counts(
    samples: Samples, split: NDArray[np.str_], tasks: Mapping[str, Task]
) -> dict[str, Any]:
    """Return a cohort's `subjects` and `samples` and, by question, the samples with each answer.

    Counts are in the order of `SPLITS`. Samples without a label count as an answer of their own
    where there are any: their number follows from the others.
    """
    return {
        index.name: _counts(samples, np.where(samples.cohort == index.name, split, ""), tasks)
        for index in samples.indexes
    }


def section(result: Mapping[str, Any], page: Page) -> Section:
    """Return the tables of each cohort."""
    blocks: list[Block] = []
    for cohort, counts in result.items():
        blocks += cohort_tables(cohort, counts)
    hidden = f"Counts under {SMALLEST_SHOWN} are hidden, and others where they would give one away."
    return Section("Patients and labels", [*blocks, Text(hidden, "note")])


def cohort_tables(cohort: str, counts: Mapping[str, Any]) -> Iterator[Table]:
    """Yield the tables of a cohort: who is in it, then the answers to each question."""
    splits = [name.replace("_", " ") for name in SPLITS]
    people = [Row([name, *map(Count, counts[name])]) for name in (SUBJECTS, SAMPLES)]
    yield Table([cohort, *splits], people, sums="rows")
    for question, answers in counts["labels"].items():
        rows = [Row([answer, *map(Count, found)]) for answer, found in answers.items()]
        yield Table([question, *splits], rows, sums="grid")


def _counts(samples: Samples, split: NDArray[np.str_], tasks: Mapping[str, Task]) -> dict[str, Any]:
    rows = list(rows_by_split(split).values())
    labels = {}
    for name, task in tasks.items():
        targets = samples.targets(name)
        if targets.shape[1]:
            for which, answers, column in _questions(name, task, targets):
                labels[which] = _answers(answers, column, rows)
    return {
        SUBJECTS: [len(np.unique(samples.subject[part])) for part in rows],
        SAMPLES: [len(part) for part in rows],
        "labels": labels,
    }


def _questions(
    name: str, task: Task, targets: NDArray[np.float32]
) -> Iterator[tuple[str, Sequence[str], NDArray[np.float32]]]:
    """Yield the name, answers and column of each question; of a task without, what is known."""
    if task.questions:
        for question in task.questions:
            column = targets[:, question.column]
            yield output_name(name, question.name), question.answers, column
        return
    unknown = np.isnan(targets).any(axis=1)
    positive = task.positives(targets)
    if positive is None:
        yield name, ("known",), np.where(unknown, np.nan, 0.0).astype(np.float32)
    else:
        yield name, YES_OR_NO, np.where(unknown, np.nan, positive > 0).astype(np.float32)


def _answers(
    names: Sequence[str], column: NDArray[np.float32], rows: Sequence[NDArray[np.int64]]
) -> dict[str, list[int]]:
    """Return how many samples of each split have each answer, and how many have none."""
    by_split = [
        np.bincount(column[part][~np.isnan(column[part])].astype(int), minlength=len(names))
        for part in rows
    ]
    counts = np.stack(by_split, axis=1)
    found = dict(zip(names, counts.tolist(), strict=True))

    unlabelled = np.array([len(part) for part in rows]) - counts.sum(axis=0)
    return found | {"unlabelled": unlabelled.tolist()} if unlabelled.any() else found
