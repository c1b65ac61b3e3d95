"""The table of subjects, samples and labels by split that a card shows; no count under 11 can be read or worked out."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clintune.cohort.samples import Samples
from clintune.evaluation.disclosure import HIDDEN, SMALLEST_SHOWN
from clintune.publishing.names import output_name
from clintune.tasks.base import Task
from clintune.training.partition import rows_by_split


class CountRow(NamedTuple):
    """Counts of one thing by split, as text, in the order of `SPLITS`."""

    name: str
    counts: list[str]


def cohort_table(samples: Samples, split: NDArray[np.str_], tasks: Mapping[str, Task]) -> dict[str, list[CountRow]]:
    """Return the rows of each cohort: subjects, samples, and the labels of each answer of each task."""
    return {
        index.name: _rows(samples, np.where(samples.cohort == index.name, split, ""), tasks)
        for index in samples.indexes
    }


def hide_small(counts: NDArray[np.int64]) -> list[list[str]]:
    """Return counts [R, C] as text, those under 11 hidden, and as many more as keep them from being worked out.

    The sums of rows and columns may be known, so none has a single hidden count. The first column that is shown gives
    way: with the training split first, held-out counts, which other tables show too, come last.
    """
    small = counts < SMALLEST_SHOWN
    hidden = small.copy()
    changed = True
    while changed:
        changed = False
        for line in (*hidden, *hidden.T):
            if line.sum() == 1 and len(line) > 1:
                line[line.argmin()] = changed = True
    return [[_text(*cell) for cell in zip(*row, strict=True)] for row in zip(counts, hidden, small, strict=True)]


def _rows(samples: Samples, split: NDArray[np.str_], tasks: Mapping[str, Task]) -> list[CountRow]:
    rows = list(rows_by_split(split).values())
    subjects = np.array([[len(np.unique(samples.subject[part])) for part in rows]])
    sizes = np.array([[len(part) for part in rows]])
    table = [CountRow("subjects", *hide_small(subjects)), CountRow("samples", *hide_small(sizes))]
    for name, task in tasks.items():
        targets = samples.targets(name)
        classes = targets.shape[1] < task.num_outputs
        for output, column in enumerate(targets.T):
            answers = task.output_names if classes else ["no", "yes"]
            counts = np.array([[(column[part] == i).sum() for part in rows] for i in range(len(answers))])
            which = name if classes else output_name(name, task.output_names, output)
            labels = zip(answers, hide_small(counts), strict=True)
            table += [CountRow(f"{which} = {answer}", texts) for answer, texts in labels]
    return table


def _text(count: int, hidden: bool, small: bool) -> str:
    return HIDDEN if small else f"{SMALLEST_SHOWN} or more" if hidden else f"{count:,}"
