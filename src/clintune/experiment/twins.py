"""What stands twice where it should stand once: an item of many subjects, a sample of two cohorts, a class."""

from collections.abc import Iterator, Mapping

import numpy as np
import polars as pl
from numpy.typing import NDArray

from clintune.cohort.samples import Samples
from clintune.core.disclosure import SMALLEST_SHOWN, in_percent
from clintune.core.text import spelled_alike, visible
from clintune.experiment.limits import Counted
from clintune.modalities.base import Modality
from clintune.tasks.base import Task

_ONE_FILE, _ONE_TEXT = 0.1, 0.5
"""Shares of the subjects above which one content of theirs is worth a word; reports have set phrases."""
_MOST = 5_000
"""Samples that suffice to find it."""
_UNKNOWN = frozenset(
    [
        "nan",
        "na",
        "n/a",
        "null",
        "none",
        "unknown",
        "missing",
        "todo",
        "?",
        "-",
        "-1",
        "-9",
        "-99",
        "-999",
        "9999",
    ]
)
"""What exports write where a label is unknown."""


def one_for_many(
    samples: Samples,
    rows: NDArray[np.int64],
    modalities: Mapping[str, Modality],
    sources: Mapping[str, Counted],
) -> Iterator[str]:
    """Yield each modality in which many subjects of the samples `rows` have an item of one content."""
    looked_at = rows[:: -(-len(rows) // _MOST) or 1]
    for name, source in sources.items():
        items = samples.items(name, looked_at)
        content = source.content(items.numbers)
        known = content >= 0
        pairs = np.unique(np.stack([content[known], items.subjects[known]]), axis=1)
        most = int(np.unique(pairs[0], return_counts=True)[1].max(initial=0))
        num_subjects = len(np.unique(pairs[1]))
        telling = _ONE_TEXT if modalities[name].media_column is None else _ONE_FILE
        if most >= SMALLEST_SHOWN and most > telling * num_subjects:
            yield (
                f"{name}: one and the same item, but for its time, stands for {in_percent(most, num_subjects)} of "
                "the subjects looked at; look whether each has their own"
            )


def in_two_cohorts(samples: Samples) -> Iterator[str]:
    """Yield how many samples stand in two cohorts: people who would train and test.

    Such have the same subject id, prediction time, labels and numbers of items.
    """
    if len(samples.indexes) < 2:
        return

    columns = {"subject": samples.subject_id, "time": samples.prediction_time}
    for name in samples.indexes[0].modalities:
        columns[f"items {name}"] = samples.num_items(name)
    for task in samples.tasks:
        columns |= {
            f"label {task} {number}": column
            for number, column in enumerate(samples.targets(task).T)
        }

    table = pl.DataFrame({**columns, "cohort": samples.cohort})
    twice = (
        table.group_by(list(columns)).agg(pl.col("cohort").n_unique()).filter(pl.col("cohort") > 1)
    )
    if len(twice) >= SMALLEST_SHOWN:
        yield (
            f"{len(twice)} samples stand in two cohorts alike, by subject id, prediction time, labels and numbers of "
            "items; if these are the same people, they train and test: keep each in one cohort"
        )


def alike_classes(tasks: Mapping[str, Task]) -> Iterator[str]:
    """Yield the answers of tasks whose names differ in case or spaces alone, and classes that stand for no answer."""
    for name, task in tasks.items():
        for group in spelled_alike([view.name for view in task.binary_views]):
            names = " and ".join(visible(repr(output)) for output in group)
            yield f"tasks.{name}: {names} differ in case or spaces alone; write one name where one class is meant"

        classes = [
            answer
            for question in task.questions
            if question.is_multiclass
            for answer in question.answers
        ]
        for answer in (answer for answer in classes if answer.strip().casefold() in _UNKNOWN):
            yield f"tasks.{name}: the class {visible(repr(answer))} looks like an unknown label; write null for it"
