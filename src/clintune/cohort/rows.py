"""The rows that one modality reads: plain columns for batches, whole items for whoever prepares them.

They stand on disk, in the files of an index, or in memory.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC
from functools import cached_property
from math import isnan
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from datasets import Dataset
from numpy.typing import NDArray

from clintune.cohort.row_writer import COLUMNS
from clintune.cohort.shards import CODE, NUMBER, ROW, TEXT, TIME
from clintune.contracts import Item

_RUN = 4096
"""Rows read at once, at most."""


class ModalityRows(ABC):
    """The rows of a modality by number.

    `root` is the folder of their media, `codes` and `shards` are what the rows' numbers of codes and files stand for;
    `has_zone` says that the rows' times had a time zone and stand here in UTC.
    """

    def __init__(
        self, root: Path, codes: Sequence[str], shards: Sequence[str], has_zone: bool
    ) -> None:
        self._root = root
        self._codes = codes
        self._shards = shards
        self._zone = UTC if has_zone else None

    def __len__(self) -> int:
        return len(self.column(TIME))

    @abstractmethod
    def column(self, name: str) -> NDArray[Any]:
        """Return one of `COLUMNS` of all rows."""

    @abstractmethod
    def _texts(self, start: int, length: int) -> pa.Table:
        """Return text, media path, number of the shard and row number of rows that stand side by side."""

    @abstractmethod
    def _listed_paths(self) -> pa.ChunkedArray:
        """Return the media path of every row."""

    def _content(self, path: str | None) -> bytes | None:
        """Return what a media path stands for, where it names no file."""
        return None

    def read(
        self,
        numbers: NDArray[np.int64],
        hours: NDArray[np.float64],
        first: int = 0,
        subjects: NDArray[np.int64] | None = None,
    ) -> Iterator[Item]:
        """Yield the items of rows `numbers` at `hours`, of `subjects`; `first` is added to their numbers."""
        subjects = np.zeros_like(numbers) if subjects is None else subjects
        ends = np.flatnonzero(np.diff(numbers, append=-1) != 1) + 1
        start = 0
        for end in ends.tolist():
            for begin in range(start, end, _RUN):
                part = slice(begin, min(begin + _RUN, end))
                yield from self._side_by_side(numbers[part], hours[part], subjects[part], first)
            start = end

    def paths(self, numbers: NDArray[np.int64]) -> list[Path]:
        """Return the media files of rows `numbers`."""
        listed = self._listed_paths().take(pa.array(numbers)).to_pylist()
        return [self._root / path for path in listed if path is not None]

    def _side_by_side(
        self,
        numbers: NDArray[np.int64],
        hours: NDArray[np.float64],
        subjects: NDArray[np.int64],
        first: int,
    ) -> Iterator[Item]:
        table = self._texts(int(numbers[0]), len(numbers))
        times = self.column(TIME)[numbers].tolist()
        values = self.column(NUMBER)[numbers].tolist()
        codes = self.column(CODE)[numbers].tolist()
        columns = (table[name].to_pylist() for name in (TEXT, "path", "shard", ROW))

        for number, hour, subject, time, code, value, text, path, shard, row in zip(
            numbers.tolist(),
            hours.tolist(),
            subjects.tolist(),
            times,
            codes,
            values,
            *columns,
            strict=True,
        ):
            yield Item(
                number=first + number,
                subject=subject,
                hours=hour,
                time=time and time.replace(tzinfo=self._zone),
                code=self._codes[code],
                where=f"{self._shards[shard]}: row {row}",
                value=None if isnan(value) else value,
                text=text,
                path=None if path is None or self._content(path) is not None else self._root / path,
                content=self._content(path),
            )


class StoredRows(ModalityRows):
    """The rows of a modality in the files of an index, memory-mapped on first use."""

    def __init__(self, folder: Path, modality: str, *known: Any) -> None:
        super().__init__(*known)
        self._folder = folder
        self._modality = modality
        self._columns: dict[str, NDArray[Any]] = {}

    def column(self, name: str) -> NDArray[Any]:
        """Return one of `COLUMNS` of all rows, memory-mapped."""
        if name not in self._columns:
            path = self._folder / f"{self._modality}.{name}"
            # An empty file cannot be mapped.
            rows = (
                np.memmap(path, COLUMNS[name], "r")
                if path.stat().st_size
                else np.empty(0, COLUMNS[name])
            )
            self._columns[name] = rows.view(np.ndarray)
        return self._columns[name]

    def _texts(self, start: int, length: int) -> pa.Table:
        return self._arrow.data.fast_slice(start, length)

    def _listed_paths(self) -> pa.ChunkedArray:
        return self._arrow.data["path"]

    @cached_property
    def _arrow(self) -> Dataset:
        return Dataset.from_file(str(self._folder / f"{self._modality}.arrow"))


class HeldRows(ModalityRows):
    """The rows of a modality in memory: plain `columns` and a table of `texts`, as `cohort.row_writer` makes both.

    `contents` holds media that are no files, by what stands in the place of their paths.
    """

    def __init__(
        self,
        columns: Mapping[str, NDArray[Any]],
        texts: pa.Table,
        contents: Mapping[str, bytes],
        *known: Any,
    ) -> None:
        super().__init__(*known)
        self._columns = columns
        self._held = texts
        self._contents = contents

    def column(self, name: str) -> NDArray[Any]:
        """Return one of `COLUMNS` of all rows."""
        return self._columns[name]

    def _texts(self, start: int, length: int) -> pa.Table:
        return self._held.slice(start, length)

    def _content(self, path: str | None) -> bytes | None:
        return None if path is None else self._contents.get(path)

    def _listed_paths(self) -> pa.ChunkedArray:
        return self._held["path"]
