"""What fewer than 11 subjects of the cohorts have, and whose name would therefore tell of them: codes and answers."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import polars as pl

from clintune.cohort.samples import Samples
from clintune.cohort.shards import CODE, ROW, SUBJECT, find_shards, media_columns, readable, scan_shard
from clintune.core.disclosure import SMALLEST_SHOWN
from clintune.tasks.base import Task


class Codes(NamedTuple):
    """The codes of all cohorts: those that 11 subjects have, and of each rarer one who has it."""

    common: set[str]
    rare: list["Owned"]


class Owned(NamedTuple):
    """A code that a subject has, with its first row there; the subject as `Samples.subject` numbers it."""

    code: str
    subject: int
    where: str


def find_codes(samples: Samples) -> Codes:
    """Count the subjects of each code in the tables of all cohorts, whether a modality claims its rows or not."""
    counts: Counter[str] = Counter()
    for shard in _shards(samples):  # a subject stands in one of them only
        with readable(shard.where):
            found = shard.rows.group_by(CODE).agg(pl.col(SUBJECT).n_unique()).collect(engine="streaming")
        counts.update(dict(found.iter_rows()))
    common = {code for code, count in counts.items() if count >= SMALLEST_SHOWN}

    rare = pl.Series(sorted(counts.keys() - common), dtype=pl.String)
    numbers = _subject_numbers(samples)
    owned = []
    for shard in _shards(samples):
        with readable(shard.where):
            rows = shard.rows.filter(pl.col(CODE).is_in(rare.implode()))
            found = rows.group_by(CODE, SUBJECT).agg(pl.col(ROW).min()).collect(engine="streaming")
        for code, subject, row in found.sort(ROW).iter_rows():
            number = numbers.setdefault((shard.cohort, subject), len(numbers))
            owned.append(Owned(code, number, f"{shard.where}: row {row}"))
    return Codes(common, owned)


def rare_answers(samples: Samples, tasks: Mapping[str, Task]) -> Iterator[str]:
    """Yield where each class or phenotype stands that some subjects have, but fewer than 11."""
    for name, task in tasks.items():
        targets, number = samples.targets(name), task.num_outputs
        has = targets == (np.arange(number) if targets.shape[1] < number else 1)
        for output in range(number) if number > 1 else ():
            rows = np.flatnonzero(has[:, output])
            if 0 < len(np.unique(samples.subject[rows])) < SMALLEST_SHOWN:
                (sample,) = samples.keys(rows[:1])
                yield f"tasks.{name}: answer {output + 1} of {number}, as of sample {sample}"


class _Shard(NamedTuple):
    """A table of cohort number `cohort`."""

    cohort: int
    rows: pl.LazyFrame
    where: str


def _shards(samples: Samples) -> Iterator[_Shard]:
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
