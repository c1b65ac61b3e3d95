"""Read recordings from tables, CSV or Parquet: a row per moment, a column of times, channels."""

import csv
import re
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from clintune.core.errors import DataError
from clintune.core.text import visible
from clintune.modalities.signals.times import cells, read_times, zone_of

_TIME_COLUMNS = ("time", "timestamp", "datetime")
_DATE_COLUMN = "date"
_NO_CHANNEL = (
    rf"(?i)^({'|'.join(_TIME_COLUMNS)}|{_DATE_COLUMN}|index|unnamed: \d+|__index_level_\d+__)$"
)
"""Names of columns that tell time, or count rows as pandas writes them."""

_SEPARATORS = (",", ";", "\t")
_LONGEST_LINE = 2**20
_COMPRESSED = (b"\x1f\x8b", b"PK\x03\x04")
"""The first bytes of gzip and zip files."""
_DECIMAL_COMMA = r"^[+-]?\d+,\d+$"
_TIME_OF_DAY = r"^\d{1,2}:\d{2}(:\d{2}([.,]\d+)?)?$"
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 (of the clock that the file tells)


@dataclass(frozen=True, kw_only=True, slots=True)
class SignalTable:
    """The rows of a table in time order.

    `micros` [T] are microseconds since 1970, in UTC where there is a `zone`, else of a local clock.
    `values` [C, T] float32, NaN in gaps, are those of the columns `channels`. `without_numbers`
    lists columns that hold no number.
    """

    micros: NDArray[np.int64]
    zone: tzinfo | None
    values: NDArray[np.float32]
    channels: list[str]
    without_numbers: tuple[str, ...]

    def moment(self, row: int) -> datetime:
        """Return the local time of a row, with its zone where there is one."""
        moment = _EPOCH + timedelta(microseconds=int(self.micros[row]))
        return moment if self.zone is None else moment.replace(tzinfo=UTC).astimezone(self.zone)

    def up_to(self, moment: datetime) -> "SignalTable":
        """Return the rows up to a moment; the moment has a zone if the table has one."""
        passed = moment.astimezone(UTC).replace(tzinfo=None) if self.zone else moment
        last = (passed - _EPOCH) // timedelta(microseconds=1)
        number = int(np.searchsorted(self.micros, last, "right"))
        return replace(self, micros=self.micros[:number], values=self.values[:, :number])


def read_signal_table(path: Path, where: str) -> SignalTable:
    """Read a table; raises DataError naming `where`, column and row of what is no recording."""
    # Read the cells.
    zones, counting = dict[str, tzinfo](), set[str]()
    if path.suffix.lower() == ".parquet":
        table, zones, counting = _read_parquet(path, where)
    else:
        table = _read_csv(path, where)
    names = [name.strip() for name in table.columns]
    if "" in names or len(set(names)) < len(names) or any("_duplicated_" in name for name in names):
        raise DataError(
            f"{where}: the recording has a column without a name of its own; name it or take it out"
        )
    table.columns = names

    # Read the times.
    times, used = _time_column(table, where)
    micros, zone = read_times(times, where)
    zone = zones.get(times.name, zone)

    # Read the channels.
    numbers = {name: _numbers(table[name], where) for name in table.columns if name not in used}
    values = pl.DataFrame({name: column for name, column in numbers.items() if column is not None})
    if not values.width:
        raise DataError(
            f"{where}: the recording has no numeric column; write its channels as numbers"
        )
    _check_channels(values, counting, where)
    _check_times(micros, values, where)

    # Put the rows with a time in order.
    known = micros.is_not_null()
    micros, values = micros.filter(known), values.filter(known)
    if 2 * micros.is_duplicated().sum() > len(micros):
        raise DataError(
            f"{where}: in most places several rows of the recording share a time; "
            "write times with their fractions, or each channel in a column of its own"
        )
    order = micros.arg_sort()
    return SignalTable(
        micros=micros[order].to_numpy(),
        zone=zone,
        values=np.ascontiguousarray(values[order].to_numpy().T),
        channels=values.columns,
        without_numbers=tuple(name for name, column in numbers.items() if column is None),
    )


def _read_csv(path: Path, where: str) -> pl.DataFrame:
    """Return the cells of a table as text; the first line's most frequent mark separates them."""
    with path.open("rb") as file:
        first = file.readline(_LONGEST_LINE)
    _check_first_line(first, where)

    separator = max(_SEPARATORS, key=lambda mark: first.count(mark.encode()))
    try:
        return pl.read_csv(path, glob=False, infer_schema=False, separator=separator)
    except pl.exceptions.PolarsError as error:
        raise DataError(f"{where}: the recording {_problem(path, separator)}") from error


def _check_first_line(first: bytes, where: str) -> None:
    """Raise DataError for a first line that is no line of names in UTF-8."""
    if first.startswith(_COMPRESSED):
        raise DataError(
            f"{where}: the recording is compressed, as by gzip or zip, or a spreadsheet; "
            "unpack it to CSV"
        )
    if b"\0" in first:
        known = "no text; save it as CSV in UTF-8"
        known = "UTF-16 as it seems; save it as UTF-8" if _is_utf_16(first) else known
        raise DataError(f"{where}: the recording is not UTF-8, but {known}")
    if not first.strip():
        raise DataError(
            f"{where}: the recording's first line is empty; write the names of its columns there"
        )


def _is_utf_16(line: bytes) -> bool:
    """Return whether a line begins like UTF-16: with a mark, or with every second byte NUL."""
    if line.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
        return True
    return any(not any(line[start:32:2]) for start in (0, 1))


def _problem(path: Path, separator: str) -> str:
    """Return why a table could not be read, and the remedy."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file, delimiter=separator)
            num_columns = len(next(rows))
            longer = np.array([len(row) > num_columns for row in rows])

            # Most rows are longer than the first line, or a few of them.
            if longer.any() and longer.mean() > 0.5:
                return (
                    "has fewer cells in its first line than below; "
                    "its first line must hold the names of the columns"
                )
            if longer.any():
                return (
                    f"has more cells in row {longer.argmax()} "
                    f"than the {num_columns} columns of its first line; drop them"
                )

    except UnicodeDecodeError:
        return "is not UTF-8; save it as UTF-8"
    except csv.Error:
        pass
    return "cannot be read as a table; save it as CSV in UTF-8, each row on a line"


def _read_parquet(path: Path, where: str) -> tuple[pl.DataFrame, dict[str, tzinfo], set[str]]:
    """Return the table, the zones of columns of times with an offset, and pandas' index columns.

    polars knows zones by their names alone and crashes at others, so that times with an offset
    become times in UTC.
    """
    # Columns that were an index in pandas, and columns of times with their zones.
    schema = pq.read_schema(path)
    index = (schema.pandas_metadata or {}).get("index_columns", [])
    counting = {name.strip() for name in index if isinstance(name, str)}
    timestamps = [field for field in schema if pa.types.is_timestamp(field.type)]
    told = {field.name: field.type.tz for field in timestamps if field.type.tz}
    offsets = {name.strip(): zone_of(zone, where) for name, zone in told.items()}
    zones: dict[str, tzinfo] = {name: zone for name, zone in offsets.items() if zone is not None}
    if not zones:
        return pl.read_parquet(path, glob=False), zones, counting

    # Cast times with an offset to UTC.
    with pq.ParquetFile(path) as file:
        table = file.read()
    utc = [_in_utc(field) if field.name.strip() in zones else field for field in table.schema]
    return pl.DataFrame(table.cast(pa.schema(utc))), zones, counting


def _in_utc(field: Any) -> Any:
    """Return a field of times in UTC."""
    return field.with_type(pa.timestamp(field.type.unit, "UTC"))


def _time_column(table: pl.DataFrame, where: str) -> tuple[pl.Series, set[str]]:
    """Return the times and the columns that tell them: one, or a date and a time of day."""
    column = next((name for name in table.columns if name.lower() in _TIME_COLUMNS), None)
    if column is None:
        raise DataError(
            f"{where}: the recording has no column {', '.join(_TIME_COLUMNS)}; name its times so"
        )

    # One column, unless it holds times of day alone.
    times = table[column]
    text = times.cast(pl.String) if times.dtype == pl.Time else times
    if text.dtype != pl.String or not cells(text).drop_nulls().str.contains(_TIME_OF_DAY).all():
        return times, {column}
    if text.null_count() == len(text):
        return times, {column}

    # A date beside a time of day.
    date = next((name for name in table.columns if name.lower() == _DATE_COLUMN), None)
    if date is None:
        raise DataError(
            f"{where}: the recording's times are times of day; "
            f"add a column {_DATE_COLUMN}, as 2024-03-01"
        )
    return cells(table[date].cast(pl.String)) + " " + cells(text), {column, date}


def _numbers(column: pl.Series, where: str) -> pl.Series | None:
    """Return a column as float32, or None for a column of text without numbers.

    An empty column counts as numbers. Raises DataError for a column with numbers and text, and for
    a decimal comma.
    """
    kind = column.dtype
    if kind.is_numeric() or kind in (pl.Boolean, pl.Null):
        return column.cast(pl.Float32)
    if not isinstance(kind, pl.String | pl.Categorical | pl.Enum):
        return None

    # Text: all of it numbers, or none.
    text = cells(column)
    numbers = text.cast(pl.Float64, strict=False)
    wrong = numbers.is_null() & text.is_not_null()
    if (commas := text.str.contains(_DECIMAL_COMMA)).any():
        row = commas.arg_true()[0]
        named = f"the recording's column {visible(column.name)}"
        raise DataError(f"{where}: {named} has a comma in the number of row {row}; write a point")
    if wrong.any() and numbers.is_not_null().any():
        raise DataError(
            f"{where}: the recording's column {visible(column.name)} "
            f"holds text in row {wrong.arg_true()[0]}; "
            "write a number there, or nothing for a gap"
        )
    return None if wrong.any() else numbers.cast(pl.Float32)


def _check_channels(values: pl.DataFrame, counting: set[str], where: str) -> None:
    """Raise DataError for a numeric column that tells time or counts rows."""
    for name in values.columns:
        if name in counting or re.search(_NO_CHANNEL, name):
            raise DataError(
                f"{where}: the recording's column {visible(name)} tells a time or counts rows, "
                "which is no channel; take it out, or give it another name"
            )


def _check_times(micros: pl.Series, values: pl.DataFrame, where: str) -> None:
    """Raise DataError for a row with values and no time."""
    if not micros.null_count():
        return

    empty = values.fill_nan(None).select(pl.all_horizontal(pl.all().is_null())).to_series()
    lost = micros.is_null() & ~empty
    if lost.any():
        raise DataError(
            f"{where}: the recording's row {lost.arg_true()[0]} has values and no time; "
            "write it, or drop it"
        )
