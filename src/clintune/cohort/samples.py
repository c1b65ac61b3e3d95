"""The samples of all cohorts of a run as one table; each sample brings the modalities and labels that it has."""

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
    """Sample indexes one after the other: row r belongs to cohort `cohort[r]` and subject `subject_id[r]`.

    `subject` numbers the subjects of all cohorts [N]: equal ids in two cohorts are two subjects. The items of a
    modality are numbered over all cohorts too. Pickling keeps the folders of the indexes only.
    """

    def __init__(self, indexes: Sequence[RowSource]) -> None:
        self.indexes = list(indexes)
        self.first = np.cumsum([0, *(len(index) for index in indexes)])
        self.cohort: NDArray[np.str_] = np.repeat(
            [index.name for index in indexes], np.diff(self.first)
        )
        self.subject_id: NDArray[np.int64] = np.concatenate(
            [index.subject_ids for index in indexes]
        )
        self.prediction_time = np.concatenate([index.prediction_times for index in indexes])
        pairs = np.stack([np.repeat(np.arange(len(indexes)), np.diff(self.first)), self.subject_id])
        self.subject: NDArray[np.int64] = np.unique(pairs, axis=1, return_inverse=True)[1]
        self._targets = {task: self._stack(task) for task in indexes[0].widths}
        self._first_item = {
            name: np.cumsum([0, *(len(index.rows[name]) for index in indexes)])
            for name in indexes[0].modalities
        }

    def __reduce__(self) -> tuple[Callable[[list[RowSource]], "Samples"], tuple[list[RowSource]]]:
        return Samples, (self.indexes,)

    def __len__(self) -> int:
        return int(self.first[-1])

    @property
    def tasks(self) -> list[str]:
        """Return the names of the tasks."""
        return list(self._targets)

    def keys(self, rows: NDArray[np.int64]) -> list[str]:
        """Return what names each of the samples `rows` in errors, without naming the subject."""
        local = rows - self.first[np.searchsorted(self.first, rows, side="right") - 1]
        return [
            f"{cohort}#{row}"
            for cohort, row in zip(self.cohort[rows].tolist(), local.tolist(), strict=True)
        ]

    def targets(self, task: str) -> NDArray[np.float32]:
        """Return a task's targets [N, T], NaN where unknown or where the cohort has no such label."""
        return self._targets[task]

    def labelled(self) -> NDArray[np.bool_]:
        """Return which samples have a known target of any task [N]."""
        known: NDArray[np.bool_] = np.any(
            [~np.isnan(targets).all(1) for targets in self._targets.values()], axis=0
        )
        return known

    def num_items(self, modality: str) -> NDArray[np.int64]:
        """Return how many items of a modality each sample sees [N]."""
        return np.concatenate([index.num_items(modality) for index in self.indexes])

    def num_rows(self, modality: str) -> int:
        """Return how many items of a modality there are, seen by a sample or not."""
        return int(self._first_item[modality][-1])

    def codes(self) -> pl.Series:
        """Return the distinct codes of all cohorts' rows, as a column of MEDS rows."""
        return pl.Series(
            CODE, sorted({code for index in self.indexes for code in index.codes}), pl.String
        )

    def seen(self, modality: str, rows: NDArray[np.int64]) -> VisibleItems:
        """Return what the samples `rows` see, one after the other, static items first; `owner` indexes `rows`."""
        parts = []
        for number, mine in self._shared_out(rows):
            seen = self.indexes[number].seen(modality, rows[mine] - self.first[number])
            parts.append(
                VisibleItems(
                    seen.number + self._first_item[modality][number], seen.hours, mine[seen.owner]
                )
            )
        if len(parts) == 1:
            return parts[0]
        whole = _together(parts)
        return whole.take(np.argsort(whole.owner, kind="stable"))

    def items(self, modality: str, rows: NDArray[np.int64]) -> "Items":
        """Return what the samples `rows` see of a modality, each item once, at the first sample to see it."""
        parts, subjects = [], [np.empty(0, np.int64)]
        for number, mine in self._shared_out(rows):
            seen = self.indexes[number].each_item_once(modality, rows[mine] - self.first[number])
            parts.append(seen._replace(number=seen.number + self._first_item[modality][number]))
            subjects.append(self.subject[np.unique(rows[mine])[seen.owner]])
        seen = _together(parts)
        return Items(self, modality, seen.number, seen.hours, np.concatenate(subjects), rows)

    def column(self, modality: str, name: str, numbers: NDArray[np.int64]) -> NDArray[Any]:
        """Return a column (time, code or numeric value) of items; codes by their number in `codes`."""
        firsts = self._first_item[modality]
        cohort = np.searchsorted(firsts, numbers, side="right") - 1
        values = np.empty(len(numbers), COLUMNS[name])
        for number in np.flatnonzero(np.bincount(cohort)).tolist():
            mine = cohort == number
            found = self.indexes[number].rows[modality].column(name)[numbers[mine] - firsts[number]]
            values[mine] = self._code_numbers[number][found] if name == CODE else found
        return values

    def _shared_out(self, rows: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[np.int64]]]:
        """Yield the number of each cohort that has some of `rows`, and which."""
        cohort = np.searchsorted(self.first, rows, side="right") - 1
        for number in np.flatnonzero(np.bincount(cohort)).tolist():
            yield number, np.flatnonzero(cohort == number)

    @cached_property
    def _code_numbers(self) -> list[NDArray[np.int32]]:
        """Return, for each cohort, the number in `codes` of each of its codes."""
        number = {code: number for number, code in enumerate(self.codes())}
        return [
            np.array([number[code] for code in index.codes], np.int32) for index in self.indexes
        ]

    def _stack(self, task: str) -> NDArray[np.float32]:
        width = max(index.widths[task] for index in self.indexes)
        parts = [index.targets(task) for index in self.indexes]
        absent = [np.full((len(part), width), np.nan, np.float32) for part in parts]
        return np.concatenate(
            [part if part.shape[1] else empty for part, empty in zip(parts, absent, strict=True)]
        )


def _together(parts: list[VisibleItems]) -> VisibleItems:
    nothing = VisibleItems(np.empty(0, np.int64), np.empty(0), np.empty(0, np.int64))
    return VisibleItems(*map(np.concatenate, zip(nothing, *parts, strict=True)))


class Moments(NamedTuple):
    """Items by number [M] at the `hours` [M] at which samples see them."""

    number: NDArray[np.int64]
    hours: NDArray[np.float64]


class Items(Sequence[Item]):
    """Items of one modality, read when asked for; cheap to pickle.

    `subjects` numbers whose they are, as `Samples.subject`, where a reader asks for that; `rows` are the samples that
    see them, where they are all that some samples see.
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
        """Return the media files of the items by cohort."""
        return [
            (index, index.rows[self.modality].paths(self.numbers[mine] - first))
            for index, mine, first in self._parts()
        ]

    def moments(self) -> Moments:
        """Return each item at each of the hours at which a sample sees it, in ascending order."""
        seen = VisibleItems(self.numbers, self.hours, self.numbers)  # at the first sample alone
        if self.rows is not None:
            seen = self.samples.seen(self.modality, self.rows)
        order = np.lexsort((seen.hours, seen.number))
        number, hours = seen.number[order], seen.hours[order]
        new = np.ones(len(number), np.bool_)
        new[1:] = (number[1:] != number[:-1]) | (hours[1:] != hours[:-1])
        return Moments(number[new], hours[new])

    def fingerprint(self) -> str:
        """Return a hash of which items these are, at which hours; their media files count by name alone."""
        digest = sha256("".join(index.fingerprint for index in self.samples.indexes).encode())
        for part in (self.modality.encode(), self.numbers.tobytes(), self.hours.tobytes()):
            digest.update(part)
        return digest.hexdigest()

    def _parts(self) -> Iterator[tuple[RowSource, NDArray[np.bool_], int]]:
        """Yield each cohort with which of the items are its own, and the number of its first item."""
        firsts = self.samples._first_item[self.modality]
        for index, first, after in zip(self.samples.indexes, firsts, firsts[1:], strict=False):
            mine = (self.numbers >= first) & (self.numbers < after)
            if mine.any():
                yield index, mine, int(first)
