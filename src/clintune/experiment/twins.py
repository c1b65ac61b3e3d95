"""Find what stands twice: an item of many subjects, a sample of two cohorts, a class."""

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
"""Shares of the subjects with one content above which a sentence says so.

Texts have set phrases.
"""
_MOST = 5_000
"""Samples that suffice to find such content."""
_UNKNOWN_WORDS = ("nan", "na", "n/a", "null", "none", "unknown", "missing", "todo", "?", "-")
_UNKNOWN = frozenset([*_UNKNOWN_WORDS, "-1", "-9", "-99", "-999", "9999"])
"""What exports write for an unknown label."""


def one_for_many(
    samples: Samples,
    rows: NDArray[np.int64],
    modalities: Mapping[str, Modality],
    sources: Mapping[str, Counted],
) -> Iterator[str]:
    """Yield a sentence for each modality in which many subjects have an item of one content.

    `rows` are the samples, of which some are looked at.
    """
    looked_at = rows[:: -(-len(rows) // _MOST) or 1]
    for name, source in sources.items():
        # Count the subjects of each content.
        items = samples.items(name, looked_at)
        content = source.content(items.numbers)
        known = content >= 0
        pairs = np.unique(np.stack([content[known], items.subjects[known]]), axis=1)

        most = int(np.unique(pairs[0], return_counts=True)[1].max(initial=0))
        num_subjects = len(np.unique(pairs[1]))
        telling = _ONE_TEXT if modalities[name].reader.media_column is None else _ONE_FILE
        if most >= SMALLEST_SHOWN and most > telling * num_subjects:
            yield (
                f"{name}: one and the same item, but for its time, stands for "
                f"{in_percent(most, num_subjects)} of the subjects looked at; "
                "look whether each has their own"
            )


def in_two_cohorts(samples: Samples) -> Iterator[str]:
    """Yield a sentence if samples stand in two cohorts: the same people would train and test.

    Such samples have the same subject id, prediction time, labels and numbers of items.
    """
    if len(samples.indexes) < 2:
        return

    # What two samples must share.
    columns = {"subject": samples.subject_id, "time": samples.prediction_time}
    for name in samples.indexes[0].modalities:
        columns[f"items {name}"] = samples.num_items(name)
    for task in samples.tasks:
        labels = enumerate(samples.targets(task).T)
        columns |= {f"label {task} {number}": column for number, column in labels}

    # Samples that share it in two cohorts.
    table = pl.DataFrame({**columns, "cohort": samples.cohort})
    twice = (
        table.group_by(list(columns)).agg(pl.col("cohort").n_unique()).filter(pl.col("cohort") > 1)
    )
    if len(twice) >= SMALLEST_SHOWN:
        yield (
            f"{len(twice)} samples stand in two cohorts alike, by subject id, prediction time, "
            "labels and numbers of items; "
            "if these are the same people, they train and test: keep each in one cohort"
        )


def alike_classes(tasks: Mapping[str, Task]) -> Iterator[str]:
    """Yield a sentence for answers that differ in case or spaces alone, and for unknown labels.

    An unknown label is a class whose name stands for no answer.
    """
    for name, task in tasks.items():
        for group in spelled_alike([view.name for view in task.binary_views]):
            names = " and ".join(visible(repr(output)) for output in group)
            yield (
                f"tasks.{name}: {names} differ in case or spaces alone; "
                "write one name where one class is meant"
            )

        multiclass = (question for question in task.questions if question.is_multiclass)
        classes = [answer for question in multiclass for answer in question.answers]
        for answer in (answer for answer in classes if answer.strip().casefold() in _UNKNOWN):
            yield (
                f"tasks.{name}: the class {visible(repr(answer))} looks like an unknown label; "
                "write null for it"
            )
