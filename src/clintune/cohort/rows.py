"""The rows that one modality reads, on disk (in the files of an index) or in memory.

They are read as plain columns for batches, or as whole items for preprocessing.
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
"""The largest number of rows that are read at once."""


class ModalityRows(ABC):
    """The rows of a modality by number.

    `root` is the folder of their media. `codes` and `shards` are what the rows' numbers of codes
    and files stand for. `has_zone` says that the rows' times had a time zone and are in UTC here.
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
        """Return one of `COLUMNS` for all rows."""

    @abstractmethod
    def _texts(self, start: int, length: int) -> pa.Table:
        """Return text, media path, shard number and row number of neighbouring rows."""

    @abstractmethod
    def _listed_paths(self) -> pa.ChunkedArray:
        """Return the media path of each row."""

    def _content(self, path: str | None) -> bytes | None:
        """Return the content that a media path stands for, where it names no file."""
        return None

    def read(
        self,
        numbers: NDArray[np.int64],
        hours: NDArray[np.float64],
        first: int = 0,
        subjects: NDArray[np.int64] | None = None,
    ) -> Iterator[Item]:
        """Yield the items of rows `numbers`, at `hours` and of `subjects`.

        `first` is added to the numbers of the items. Neighbouring rows are read together.
        """
        subjects = np.zeros_like(numbers) if subjects is None else subjects
        ends = np.flatnonzero(np.diff(numbers, append=-1) != 1) + 1

        start = 0
        for end in ends.tolist():
            for begin in range(start, end, _RUN):
                part = slice(begin, min(begin + _RUN, end))
                yield from self._read_neighbours(numbers[part], hours[part], subjects[part], first)
            start = end

    def paths(self, numbers: NDArray[np.int64]) -> list[Path]:
        """Return the media files of rows `numbers`."""
        listed = self._listed_paths().take(pa.array(numbers)).to_pylist()
        return [self._root / path for path in listed if path is not None]

    def _read_neighbours(
        self,
        numbers: NDArray[np.int64],
        hours: NDArray[np.float64],
        subjects: NDArray[np.int64],
        first: int,
    ) -> Iterator[Item]:
        """Yield the items of neighbouring rows."""
        # Each column as a list.
        table = self._texts(int(numbers[0]), len(numbers))
        times = self.column(TIME)[numbers].tolist()
        values = self.column(NUMBER)[numbers].tolist()
        codes = self.column(CODE)[numbers].tolist()
        columns = (table[name].to_pylist() for name in (TEXT, "path", "shard", ROW))

        # Row by row, from the values of all columns.
        known = (numbers.tolist(), hours.tolist(), subjects.tolist(), times, codes, values)
        cells = zip(*known, *columns, strict=True)
        for number, hour, subject, time, code, value, text, path, shard, row in cells:
            content = self._content(path)
            yield Item(
                number=first + number,
                subject=subject,
                hours=hour,
                time=time and time.replace(tzinfo=self._zone),
                code=self._codes[code],
                where=f"{self._shards[shard]}: row {row}",
                value=None if isnan(value) else value,
                text=text,
                path=None if path is None or content is not None else self._root / path,
                content=content,
            )


class StoredRows(ModalityRows):
    """The rows of a modality in the files of an index, memory-mapped on first use."""

    def __init__(self, folder: Path, modality: str, *known: Any) -> None:
        super().__init__(*known)
        self._folder = folder
        self._modality = modality
        self._columns: dict[str, NDArray[Any]] = {}

    def column(self, name: str) -> NDArray[Any]:
        """Return one of `COLUMNS` for all rows, memory-mapped."""
        if name not in self._columns:
            path = self._folder / f"{self._modality}.{name}"
            # An empty file cannot be mapped.
            kind, is_empty = COLUMNS[name], not path.stat().st_size
            rows = np.empty(0, kind) if is_empty else np.memmap(path, kind, "r")
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
    """The rows of a modality in memory, as `cohort.row_writer` makes them.

    `columns` are plain arrays, `texts` is a table of texts and places. `contents` holds media that
    are no files, by the text in the place of their paths.
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
        """Return one of `COLUMNS` for all rows."""
        return self._columns[name]

    def _texts(self, start: int, length: int) -> pa.Table:
        return self._held.slice(start, length)

    def _content(self, path: str | None) -> bytes | None:
        return None if path is None else self._contents.get(path)

    def _listed_paths(self) -> pa.ChunkedArray:
        return self._held["path"]
