"""Linked subjects, such as mother and child or one person under two ids: they stay together.

`metadata/linked_subjects.parquet` (subject_id, unit) joins them into units.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from clintune.cohort.shards import SUBJECT
from clintune.cohort.subject_table import has_subject_table, read_subject_table
from clintune.core.errors import DataError
from clintune.core.problems import Problem

LINKED_FILE = "metadata/linked_subjects.parquet"


class Samples(Protocol):
    """What a split needs of a `SampleIndex`."""

    @property
    def root(self) -> Path:
        """Folder of the cohort."""

    @property
    def subject_ids(self) -> NDArray[np.int64]:
        """Subject of each sample [N]."""


def linked_units(index: Samples) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the distinct units, and the number of the unit of each sample [N].

    A subject who is linked to no other is a unit alone.
    """
    ids = index.subject_ids
    path = index.root / LINKED_FILE
    if has_subject_table(path):
        linked = read_subject_table(path, "unit")
        if not linked["unit"].dtype.is_integer():
            raise DataError(
                f"{path}: column unit is {linked['unit'].dtype}; number the units: cast it to int64"
            )
        samples = pl.DataFrame({SUBJECT: ids})
        joined = samples.join(linked, on=SUBJECT, how="left", maintain_order="left")
        ids = joined.select(pl.coalesce("unit", SUBJECT)).to_series().to_numpy()

    units, unit_of_sample = np.unique(ids, return_inverse=True)
    return units, unit_of_sample


def linked_numbers(indexes: Iterable[Samples]) -> NDArray[np.int64]:
    """Return a number for each sample [N] of some cohorts that linked subjects share.

    The samples of one cohort come behind those of another.
    """
    numbers, first = [np.empty(0, np.int64)], 0
    for index in indexes:
        units, unit_of_sample = linked_units(index)
        numbers.append(unit_of_sample + first)
        first += len(units)
    return np.concatenate(numbers)


def parted_problems(
    path: Path, part_of_sample: pl.Series, index: Samples, parts: str
) -> Iterator[Problem]:
    """Yield a problem where the file `path` puts linked subjects into several `parts`.

    `parts` is the word for them, as "splits" or "folds". A sample without a part counts in none.
    """
    _, unit_of_sample = linked_units(index)
    pairs = pl.DataFrame({"unit": unit_of_sample, "part": part_of_sample}).drop_nulls()
    pairs = pairs.unique().sort("unit", "part")
    parted = pairs.filter(pl.len().over("unit") > 1)
    if len(parted):
        first, second = parted["part"][:2]
        number = parted["unit"].n_unique()
        units = f"{number} unit{'s'[: number > 1]} of {LINKED_FILE}"
        yield Problem(
            str(path),
            f"parts linked subjects: {units} in several {parts}, as {first} and {second}",
            "give all subjects of a unit one of them",
        )
