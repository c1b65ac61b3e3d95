"""The samples of all cohorts of a run as one table; each sample has some modalities and labels."""

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple, overload

import numpy as np
import polars as pl
from numpy.typing import NDArray

from clintune.cohort.row_source import RowSource, VisibleItems
from clintune.cohort.row_writer import COLUMNS
from clintune.cohort.shards import CODE
from clintune.contracts import Item


class Samples:
    """The samples of several indexes, one index after the other.

    Sample r belongs to cohort `cohort[r]` and subject `subject_id[r]`. `subject` [N] numbers the
    subjects of all cohorts: equal ids in two cohorts are two subjects. The items of a modality are
    numbered over all cohorts, too. Pickling keeps only the folders of the indexes.
    """

    def __init__(self, indexes: Sequence[RowSource]) -> None:
        self.indexes = list(indexes)
        lengths = [len(index) for index in indexes]
        self.first = np.cumsum([0, *lengths])
        names = [index.name for index in indexes]
        self.cohort: NDArray[np.str_] = np.repeat(names, lengths)
        ids = [index.subject_ids for index in indexes]
        self.subject_id: NDArray[np.int64] = np.concatenate(ids)
        self.prediction_time = np.concatenate([index.prediction_times for index in indexes])

        # A subject is a pair of cohort and id.
        pairs = np.stack([np.repeat(np.arange(len(indexes)), lengths), self.subject_id])
        self.subject: NDArray[np.int64] = np.unique(pairs, axis=1, return_inverse=True)[1]
        self._targets = {task: self._stack(task) for task in indexes[0].widths}

        # The number of the first item of each cohort, and one past the last item.
        self._first_item: dict[str, NDArray[np.int64]] = {}
        for name in indexes[0].modalities:
            num_rows = [len(index.rows[name]) for index in indexes]
            self._first_item[name] = np.cumsum([0, *num_rows])

    def __reduce__(self) -> tuple[Callable[[list[RowSource]], "Samples"], tuple[list[RowSource]]]:
        return Samples, (self.indexes,)

    def __len__(self) -> int:
        return int(self.first[-1])

    @property
    def tasks(self) -> list[str]:
        """Return the names of the tasks."""
        return list(self._targets)

    def keys(self, rows: NDArray[np.int64]) -> list[str]:
        """Return the names of the samples `rows` for errors, which do not name the subject."""
        local = rows - self.first[np.searchsorted(self.first, rows, side="right") - 1]
        pairs = zip(self.cohort[rows].tolist(), local.tolist(), strict=True)
        return [f"{cohort}#{row}" for cohort, row in pairs]

    def targets(self, task: str) -> NDArray[np.float32]:
        """Return a task's targets [N, T]; NaN where unknown, or without labels in the cohort."""
        return self._targets[task]

    def labelled(self) -> NDArray[np.bool_]:
        """Return which samples have a known target of any task [N]."""
        by_task = [~np.isnan(targets).all(1) for targets in self._targets.values()]
        known: NDArray[np.bool_] = np.any(by_task, axis=0)
        return known

    def num_items(self, modality: str) -> NDArray[np.int64]:
        """Return how many items of a modality each sample sees [N]."""
        return np.concatenate([index.num_items(modality) for index in self.indexes])

    def num_rows(self, modality: str) -> int:
        """Return how many items a modality has, whether a sample sees them or not."""
        return int(self._first_item[modality][-1])

    def codes(self) -> pl.Series:
        """Return the distinct codes of all cohorts, sorted, as a column of MEDS rows."""
        codes = {code for index in self.indexes for code in index.codes}
        return pl.Series(CODE, sorted(codes), pl.String)

    def seen(self, modality: str, rows: NDArray[np.int64]) -> VisibleItems:
        """Return the items that the samples `rows` see, one sample after the other.

        Static items come first in each sample; `owner` indexes `rows`.
        """
        parts = []
        for number, mine in self._by_cohort(rows):
            seen = self.indexes[number].seen(modality, rows[mine] - self.first[number])
            item = seen.number + self._first_item[modality][number]
            parts.append(VisibleItems(item, seen.hours, mine[seen.owner]))

        if len(parts) == 1:
            return parts[0]
        whole = _concatenate(parts)
        return whole.take(np.argsort(whole.owner, kind="stable"))

    def items(self, modality: str, rows: NDArray[np.int64]) -> "Items":
        """Return the items that the samples `rows` see of a modality.

        Each item is returned once, at the first sample that sees it.
        """
        parts, subjects = [], [np.empty(0, np.int64)]
        for number, mine in self._by_cohort(rows):
            seen = self.indexes[number].each_item_once(modality, rows[mine] - self.first[number])
            parts.append(seen._replace(number=seen.number + self._first_item[modality][number]))
            subjects.append(self.subject[np.unique(rows[mine])[seen.owner]])

        seen = _concatenate(parts)
        return Items(self, modality, seen.number, seen.hours, np.concatenate(subjects), rows)

    def column(self, modality: str, name: str, numbers: NDArray[np.int64]) -> NDArray[Any]:
        """Return a column (time, code or numeric value) of items.

        A code is given by its number in `codes`.
        """
        firsts = self._first_item[modality]
        cohort = np.searchsorted(firsts, numbers, side="right") - 1
        values = np.empty(len(numbers), COLUMNS[name])

        for number in np.flatnonzero(np.bincount(cohort)).tolist():
            mine = cohort == number
            found = self.indexes[number].rows[modality].column(name)[numbers[mine] - firsts[number]]
            values[mine] = self._code_numbers[number][found] if name == CODE else found
        return values

    def _by_cohort(self, rows: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[np.int64]]]:
        """Yield the number of each cohort that has some of `rows`, and their positions there."""
        cohort = np.searchsorted(self.first, rows, side="right") - 1
        for number in np.flatnonzero(np.bincount(cohort)).tolist():
            yield number, np.flatnonzero(cohort == number)

    @cached_property
    def _code_numbers(self) -> list[NDArray[np.int32]]:
        """Return, for each cohort, the number in `codes` of each of its codes."""
        number = {code: number for number, code in enumerate(self.codes())}
        by_cohort = []
        for index in self.indexes:
            mine = [number[code] for code in index.codes]
            by_cohort.append(np.array(mine, np.int32))
        return by_cohort

    def _stack(self, task: str) -> NDArray[np.float32]:
        """Return a task's targets of all cohorts [N, T], NaN for a cohort without labels."""
        width = max(index.widths[task] for index in self.indexes)
        parts = []
        for index in self.indexes:
            targets = index.targets(task)
            absent = np.full((len(targets), width), np.nan, np.float32)
            parts.append(targets if targets.shape[1] else absent)
        return np.concatenate(parts)


def _concatenate(parts: list[VisibleItems]) -> VisibleItems:
    """Return the items of several parts as one, in the order of the parts."""
    nothing = VisibleItems(np.empty(0, np.int64), np.empty(0), np.empty(0, np.int64))
    return VisibleItems(*map(np.concatenate, zip(nothing, *parts, strict=True)))


class Moments(NamedTuple):
    """Items by number [M], each at the `hours` [M] at which a sample sees it."""

    number: NDArray[np.int64]
    hours: NDArray[np.float64]


class Items(Sequence[Item]):
    """The items of one modality, read when asked for; cheap to pickle.

    `subjects` [I] numbers their owners as `Samples.subject` does, where a reader asks for them.
    `rows` are the samples that see them, where the items are all that these samples see.
    """

    def __init__(
        self,
        samples: Samples,
        modality: str,
        numbers: NDArray[np.int64],
        hours: NDArray[np.float64],
        subjects: NDArray[np.int64] | None = None,
        rows: NDArray[np.int64] | None = None,
    ) -> None:
        self.samples = samples
        self.modality = modality
        self.numbers = numbers
        self.hours = hours
        self.subjects = np.zeros(len(numbers), np.int64) if subjects is None else subjects
        self.rows = rows

    def __len__(self) -> int:
        return len(self.numbers)

    @overload
    def __getitem__(self, position: int) -> Item: ...
    @overload
    def __getitem__(self, position: slice) -> "Items": ...
    def __getitem__(self, position: int | slice) -> "Item | Items":
        if isinstance(position, int):
            return next(iter(self[position : position + 1]))
        part = (self.numbers[position], self.hours[position], self.subjects[position])
        return Items(self.samples, self.modality, *part)

    def __iter__(self) -> Iterator[Item]:
        for index, mine, first in self._parts():
            parts = (self.numbers[mine] - first, self.hours[mine], first, self.subjects[mine])
            yield from index.rows[self.modality].read(*parts)

    def paths(self) -> list[tuple[RowSource, list[Path]]]:
        """Return the media files of the items, by cohort."""
        return [
            (index, index.rows[self.modality].paths(self.numbers[mine] - first))
            for index, mine, first in self._parts()
        ]

    def moments(self) -> Moments:
        """Return each item at each time at which a sample sees it, in ascending order."""
        seen = VisibleItems(self.numbers, self.hours, self.numbers)  # at the first sample alone
        if self.rows is not None:
            seen = self.samples.seen(self.modality, self.rows)

        order = np.lexsort((seen.hours, seen.number))
        number, hours = seen.number[order], seen.hours[order]
        # Keep the first of equal pairs.
        new = np.ones(len(number), np.bool_)
        new[1:] = (number[1:] != number[:-1]) | (hours[1:] != hours[:-1])
        return Moments(number[new], hours[new])

    def fingerprint(self) -> str:
        """Return a hash of the items and their hours; their media files count by name alone."""
        digest = sha256("".join(index.fingerprint for index in self.samples.indexes).encode())
        for part in (self.modality.encode(), self.numbers.tobytes(), self.hours.tobytes()):
            digest.update(part)
        return digest.hexdigest()

    def _parts(self) -> Iterator[tuple[RowSource, NDArray[np.bool_], int]]:
        """Yield each cohort that has some of the items.

        With it go the mask of its items, and the number of its first item.
        """
        firsts = self.samples._first_item[self.modality]
        for index, first, after in zip(self.samples.indexes, firsts, firsts[1:], strict=False):
            mine = (self.numbers >= first) & (self.numbers < after)
            if mine.any():
                yield index, mine, int(first)
