"""The samples of all cohorts of a run as one table; each sample brings the modalities and labels that it has."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from clintune.cohort.index import SampleIndex
from clintune.cohort.shards import CODE
from clintune.contracts import Item, Sample


class Samples:
    """Sample indexes one after the other: row r belongs to cohort `cohort[r]` and subject `subject_id[r]`.

    `subject` numbers the subjects of all cohorts [N]: equal ids in two cohorts are two subjects.
    """

    def __init__(self, indexes: Sequence[SampleIndex]) -> None:
        self.indexes = list(indexes)
        self.first = np.cumsum([0, *(len(index) for index in indexes)])
        self.cohort: NDArray[np.str_] = np.repeat([index.name for index in indexes], np.diff(self.first))
        self.subject_id: NDArray[np.int64] = np.concatenate([index.subject_ids for index in indexes])
        self.prediction_time = np.concatenate([index.prediction_times for index in indexes])
        pairs = np.stack([np.repeat(np.arange(len(indexes)), np.diff(self.first)), self.subject_id])
        self.subject: NDArray[np.int64] = np.unique(pairs, axis=1, return_inverse=True)[1]
        self._targets = {task: self._stack(task) for task in indexes[0].widths}

    def __len__(self) -> int:
        return int(self.first[-1])

    def __getitem__(self, row: int) -> Sample:
        index, local = self._locate(row)
        return replace(index[local], targets={task: targets[row] for task, targets in self._targets.items()})

    def targets(self, task: str) -> NDArray[np.float32]:
        """Return a task's targets [N, T], NaN where unknown or where the cohort has no such label."""
        return self._targets[task]

    def labelled(self) -> NDArray[np.bool_]:
        """Return which samples have a known target of any task [N]."""
        known: NDArray[np.bool_] = np.any([~np.isnan(targets).all(1) for targets in self._targets.values()], axis=0)
        return known

    def num_items(self, modality: str) -> NDArray[np.int64]:
        """Return how many items of a modality each sample sees [N]."""
        return np.concatenate([index.num_items(modality) for index in self.indexes])

    def codes(self) -> pl.Series:
        """Return the distinct codes of all cohorts' rows, as a column of MEDS rows."""
        return pl.Series(CODE, sorted({code for index in self.indexes for code in index.codes}), pl.String)

    def items(self, modality: str, rows: NDArray[np.int64]) -> Iterator[Item]:
        """Yield what the samples `rows` see of a modality, each item once."""
        for index, first, after in zip(self.indexes, self.first, self.first[1:], strict=False):
            yield from index.items(modality, rows[(rows >= first) & (rows < after)] - first)

    def _locate(self, row: int) -> tuple[SampleIndex, int]:
        number = int(np.searchsorted(self.first, row, side="right")) - 1
        return self.indexes[number], row - int(self.first[number])

    def _stack(self, task: str) -> NDArray[np.float32]:
        width = max(index.widths[task] for index in self.indexes)
        parts = [index.targets(task) for index in self.indexes]
        absent = [np.full((len(part), width), np.nan, np.float32) for part in parts]
        return np.concatenate([part if part.shape[1] else empty for part, empty in zip(parts, absent, strict=True)])
