"""How many subjects have each code, counted in the tables of all cohorts."""

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import polars as pl

from clintune.cohort.samples import Samples
from clintune.cohort.shards import (
    CODE,
    ROW,
    SUBJECT,
    count_subjects,
    find_shards,
    media_columns,
    readable,
    scan_shard,
)
from clintune.core.disclosure import SMALLEST_SHOWN


class Codes(NamedTuple):
    """The codes that at least 11 subjects have, and those that fewer have.

    Equal ids in two cohorts are two subjects.
    """

    common: set[str]
    rare: set[str]


class Owned(NamedTuple):
    """A code that a subject has, with its first row; `subject` is numbered as `Samples.subject`."""

    code: str
    subject: int
    where: str


def count_codes(samples: Samples) -> Codes:
    """Return which codes many and few subjects have, whether a modality reads their rows or not."""
    counts: Counter[str] = Counter()
    for shard in _shards(samples):  # a subject stands in one shard only
        counts.update(count_subjects(shard.rows, shard.where))
    common = {code for code, count in counts.items() if count >= SMALLEST_SHOWN}
    return Codes(common, counts.keys() - common)


def owners_of(codes: set[str], samples: Samples) -> Iterator[Owned]:
    """Yield each subject that has one of some codes."""
    wanted = pl.Series(sorted(codes), dtype=pl.String)
    numbers = _subject_numbers(samples)
    for shard in _shards(samples):
        with readable(shard.where):
            rows = shard.rows.filter(pl.col(CODE).is_in(wanted.implode()))
            found = rows.group_by(CODE, SUBJECT).agg(pl.col(ROW).min()).collect(engine="streaming")

        for code, subject, row in found.sort(ROW).iter_rows():
            number = numbers.setdefault((shard.cohort, subject), len(numbers))
            yield Owned(code, number, f"{shard.where}: row {row}")


class _Shard(NamedTuple):
    """A table of cohort number `cohort`."""

    cohort: int
    rows: pl.LazyFrame
    where: str


def _shards(samples: Samples) -> Iterator[_Shard]:
    """Yield the tables of all cohorts."""
    for number, index in enumerate(samples.indexes):
        media = media_columns(index.root)
        for path in find_shards(index.root):
            where = path.relative_to(index.root).as_posix()
            yield _Shard(number, scan_shard(path, where, media), where)


def _subject_numbers(samples: Samples) -> dict[tuple[int, int], int]:
    """Return the number of each subject that has samples, by cohort and id."""
    cohort = np.searchsorted(samples.first, np.arange(len(samples)), side="right") - 1
    keys = zip(cohort.tolist(), samples.subject_id.tolist(), strict=True)
    return dict(zip(keys, samples.subject.tolist(), strict=True))
