"""The files of a modality in a sample index: its rows, appended shard by shard."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from clintune.cohort.shards import CODE, NUMBER, ROW, TEXT, TIME

COLUMNS = {TIME: "datetime64[us]", CODE: "int32", NUMBER: "float32"}
"""The columns of a modality's rows that are plain arrays.

Null times are NaT, codes are given by number, null values are NaN.
"""

_ROWS = pa.schema(
    [
        (TEXT, pa.large_string()),
        ("path", pa.large_string()),
        ("shard", pa.int32()),
        (ROW, pa.int64()),
    ]
)
_BATCH = 16_384
STATIC = np.iinfo(np.int64).min
"""The time of a row without one."""


def plain_columns(rows: pl.DataFrame, codes: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Return each of `COLUMNS` of a modality's rows; `codes` numbers their codes."""
    plain = {
        TIME: rows[TIME].to_physical().fill_null(STATIC),
        CODE: rows[CODE].cast(pl.Enum(codes)).to_physical(),
        NUMBER: rows[NUMBER].fill_null(float("nan")),
    }
    return {name: plain[name].to_numpy().astype(kind) for name, kind in COLUMNS.items()}


def text_table(rows: pl.DataFrame) -> pa.Table:
    """Return text, media path, shard number and row number of a modality's rows."""
    return rows.select(_ROWS.names).to_arrow(compat_level=pl.CompatLevel.oldest()).cast(_ROWS)


class RowWriter:
    """Appends rows to the files of a modality.

    Texts and places go to an Arrow stream, each of `COLUMNS` to a raw file. `codes` numbers the
    codes; it must hold those of the rows before they are appended.
    """

    def __init__(self, folder: Path, modality: str, codes: dict[str, int]) -> None:
        self.num_rows = 0
        self._codes = codes
        self._stack = ExitStack()
        file = self._stack.enter_context(pa.OSFile(str(folder / f"{modality}.arrow"), "wb"))
        self._stream = self._stack.enter_context(pa.ipc.new_stream(file, _ROWS))
        self._columns = {
            name: self._stack.enter_context((folder / f"{modality}.{name}").open("wb"))
            for name in COLUMNS
        }

    def append(self, rows: pl.DataFrame) -> None:
        """Append rows in (subject, time) order, with their media's `path` and `shard` number."""
        for part in rows.select(_ROWS.names).iter_slices(_BATCH):
            self._stream.write_table(text_table(part).combine_chunks())
        for name, column in plain_columns(rows, list(self._codes)).items():
            self._columns[name].write(column.tobytes())  # `tofile` hides a full disk

        self.num_rows += len(rows)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._stack.close()
