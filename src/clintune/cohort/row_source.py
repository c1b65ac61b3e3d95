"""The only door to a cohort's data: it cuts samples at prediction times, wherever the rows are.

`cohort.index` has a source on disk, `cohort.in_memory` one of rows in memory. Both look up ranges
of rows as `cohort.build` cuts them. What a sample sees of these ranges is decided here and nowhere
else.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clintune.cohort.arrays import spans
from clintune.cohort.rows import ModalityRows
from clintune.cohort.shards import TIME

_HOUR = 3_600_000_000


class VisibleItems(NamedTuple):
    """Items of some samples, by three numbers each [I]: row, hours before prediction, owner."""

    number: NDArray[np.int64]
    hours: NDArray[np.float64]
    owner: NDArray[np.int64]

    def take(self, which: NDArray[np.int64] | NDArray[np.bool_]) -> "VisibleItems":
        """Return some of the items."""
        return VisibleItems(self.number[which], self.hours[which], self.owner[which])


class RowSource(ABC):
    """The samples of one cohort, in (subject, prediction time) order, and the rows they may see."""

    name: str
    root: Path
    """The folder that media paths are relative to."""
    fingerprint: str
    codes: list[str]
    """The distinct codes of the cohort's rows, in the order of their numbers."""
    has_zone: bool
    """Whether times had a time zone and stand here in UTC; else they are of one local clock."""
    widths: dict[str, int]
    """Width T of each task's target; 0 where the cohort has no labels for the task."""
    rows: Mapping[str, ModalityRows]
    """The rows that each modality reads, seen by a sample or not."""

    @cached_property
    @abstractmethod
    def subject_ids(self) -> NDArray[np.int64]:
        """Subject of each sample [N]."""

    @cached_property
    @abstractmethod
    def prediction_times(self) -> NDArray[np.datetime64]:
        """Prediction time of each sample [N], datetime64[us]."""

    @cached_property
    @abstractmethod
    def _ranges(self) -> Mapping[str, NDArray[np.int64]]:
        """Return the rows of each modality that a sample sees [4, N], as `cohort.build.RANGE`."""

    @abstractmethod
    def targets(self, task: str) -> NDArray[np.float32]:
        """Return a task's targets [N, T], NaN where unknown; [N, 0] without labels for the task."""

    @property
    def modalities(self) -> list[str]:
        """Return the names of the modalities."""
        return list(self.rows)

    def __len__(self) -> int:
        return len(self.subject_ids)

    def num_items(self, modality: str) -> NDArray[np.int64]:
        """Return how many items of a modality each sample sees [N]."""
        static, static_stop, start, stop = self._ranges[modality]
        seen: NDArray[np.int64] = static_stop - static + stop - start
        return seen

    def seen(self, modality: str, rows: NDArray[np.int64]) -> VisibleItems:
        """Return what the samples `rows` see, in their order, static items first, then oldest."""
        static, static_stop, start, stop = self._ranges[modality][:, rows]
        return self._expand(modality, rows, static, static_stop, start, stop)

    def each_item_once(self, modality: str, rows: NDArray[np.int64]) -> VisibleItems:
        """Return what the samples `rows` see, each item once, at the first sample that sees it.

        `owner` counts those samples in ascending order, whatever the order of `rows`.
        """
        rows = np.unique(rows)
        static, static_stop, start, stop = self._ranges[modality][:, rows]

        # A later sample of the same subject sees again what the one before it saw.
        again = np.flatnonzero(self.subject_ids[rows[1:]] == self.subject_ids[rows[:-1]]) + 1
        static[again] = static_stop[again]
        start[again] = np.maximum(start[again], np.minimum(stop[again - 1], stop[again]))
        return self._expand(modality, rows, static, static_stop, start, stop)

    def _expand(
        self, modality: str, rows: NDArray[np.int64], *bounds: NDArray[np.int64]
    ) -> VisibleItems:
        """Return the items in the two ranges of rows of each sample, static items first."""
        static, static_stop, start, stop = bounds
        starts = np.stack([static, start], axis=1).ravel()
        numbers, which = spans(starts, np.stack([static_stop, stop], axis=1).ravel() - starts)
        owner = which // 2

        passed = self.prediction_times[rows][owner] - self.rows[modality].column(TIME)[numbers]
        hours = np.where(np.isnat(passed), 0.0, passed.astype(np.float64) / _HOUR)
        return VisibleItems(number=numbers, hours=hours, owner=owner)
