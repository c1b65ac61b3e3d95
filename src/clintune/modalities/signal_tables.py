"""Recordings as tables, CSV or Parquet: a row a moment, a column of times, numeric columns as channels."""

import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from clintune.core.errors import DataError
from clintune.core.text import visible

_TIME_COLUMNS = ("time", "timestamp", "datetime")
_DATE_COLUMN = "date"
_NO_CHANNEL = rf"(?i)^({'|'.join(_TIME_COLUMNS)}|{_DATE_COLUMN}|index|unnamed: \d+|__index_level_\d+__)$"
"""Columns that tell time, or count rows as pandas writes them."""
_GAPS = ("", "na", "n/a", "#n/a", "nan", "null", "none", "nil", "-", "--", "?", ".")
"""Cells that stand for no value, in whatever case."""

_OFFSET = r"Z|UTC|[+-](?:[01]\d|2[0-3])(?::?[0-5]\d)?"
_ISO = (
    r"(?i)^(\d{4}-\d{2}-\d{2})"
    rf"(?:[T ] *(\d{{1,2}}:\d{{2}})(?::(\d{{2}})(?:[.,](\d{{1,6}})\d*)?)? *({_OFFSET})?)?$"
)
_TIME_OF_DAY = r"^\d{1,2}:\d{2}(:\d{2}([.,]\d+)?)?$"
_ISO_TOLD = "ISO 8601 as 2024-03-01 22:30:00 or 2024-03-01T22:30:00+01:00, or numbers of s, ms, us or ns since 1970"

_UNITS = {1: (1_000_000, 1), 1_000: (1_000, 1), 1_000_000: (1, 1), 1_000_000_000: (1, 1_000)}
"""Ticks a second since 1970, with what multiplies and divides them to microseconds."""
_EARLIEST, _LATEST = 315_532_800, 7_258_118_400
"""The years 1980 to 2200 in seconds: no number is a time in two units, and dates written as numbers are none."""

_DIGITS = [10**power for power in range(6, -1, -1)]
"""What clocks tell, in microseconds: whole seconds, tenths, and so on."""

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 (of the clock that the file tells)


@dataclass(frozen=True, kw_only=True, slots=True)
class SignalTable:
    """The rows of a table in time order.

    `micros` [T] count since 1970, in UTC where there is a `zone`, else of a local clock. `values` [C, T] float32, NaN
    in gaps, are those of the columns `channels`; `without_numbers` are columns that hold no number.
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
        """Return the rows up to a moment; it has a zone if the table has."""
        passed = moment.astimezone(UTC).replace(tzinfo=None) if self.zone else moment
        number = int(np.searchsorted(self.micros, (passed - _EPOCH) // timedelta(microseconds=1), "right"))
        return replace(self, micros=self.micros[:number], values=self.values[:, :number])


def read_signal_table(path: Path, where: str) -> SignalTable:
    """Read a table; raises DataError, naming `where`, for one that is no recording, with column and row."""
    zones, counting = dict[str, tzinfo](), set[str]()
    if path.suffix.lower() == ".parquet":
        table, zones, counting = _read_parquet(path, where)
    else:
        table = pl.read_csv(path, glob=False, infer_schema=False)
    names = [name.strip() for name in table.columns]
    if "" in names or len(set(names)) < len(names) or any("_duplicated_" in name for name in names):
        raise DataError(f"{where}: the recording has a column without a name of its own; name it or take it out")
    table.columns = names

    times, used = _time_column(table, where)
    micros, zone = read_times(times, where)
    zone = zones.get(times.name, zone)

    numbers = {name: _numbers(table[name], where) for name in table.columns if name not in used}
    values = pl.DataFrame({name: column for name, column in numbers.items() if column is not None})
    if not values.width:
        raise DataError(f"{where}: the recording has no numeric column; write its channels as numbers")
    _check_channels(values, counting, where)
    _check_times(micros, values, where)

    known = micros.is_not_null()
    micros, values = micros.filter(known), values.filter(known)
    order = micros.arg_sort()
    return SignalTable(
        micros=micros[order].to_numpy(),
        zone=zone,
        values=np.ascontiguousarray(values[order].to_numpy().T),
        channels=values.columns,
        without_numbers=tuple(name for name, column in numbers.items() if column is None),
    )


def usual_step(micros: NDArray[np.int64]) -> float:
    """Return the step between ascending times of which some differ: their median, but for the rounding of the clock.

    A clock that tells milliseconds writes 64 Hz as steps of 15 and 16 ms. So it is the mean of steps at most one digit
    of the clock from the median (which is one of the steps), or of all near it, or the same over gaps: the first of
    these that puts most near neighbours on places side by side.
    """
    steps = np.diff(micros)
    median = np.quantile(steps[steps > 0], 0.5, method="lower")
    near = (steps >= 0.5 * median) & (steps <= 1.5 * median)
    digit = next(digit for digit in _DIGITS if not (steps % digit).any())
    means = [float(steps[kind].mean()) for kind in (near & (np.abs(steps - median) <= digit), near)]
    return min(*means, *(_over_gaps(steps, mean) for mean in means), key=lambda step: _apart(micros, step, near))


def _over_gaps(steps: NDArray[np.int64], step: float) -> float:
    """Return the mean step where a gap counts as the steps that it lasts, so that rounding does not add up."""
    numbers = np.rint(steps / step)
    short = numbers < 100
    return float(steps[short].sum() / numbers[short].sum())


def _apart(micros: NDArray[np.int64], step: float, near: NDArray[np.bool_]) -> int:
    """Return how many neighbours, those marked `near`, a grid puts on one place or with a gap in between."""
    places = np.rint((micros - micros[0]) / step)
    return int((np.diff(places)[near] != 1).sum())


def read_times(times: pl.Series, where: str) -> tuple[pl.Series, tzinfo | None]:
    """Return microseconds since 1970, null where there is no time, and the zone that the times are told in.

    They are in UTC where there is a zone; of times with several offsets it is that of the first. Numbers count s, ms,
    us or ns since 1970 in UTC, whichever gives years from 1980 to 2200. Raises DataError for anything else.
    """
    kind = times.dtype
    if isinstance(kind, pl.Datetime):
        micros = times.cast(pl.Datetime("us", kind.time_zone)).to_physical()
        return micros, None if kind.time_zone is None else ZoneInfo(kind.time_zone)
    if kind == pl.Date:
        return times.cast(pl.Datetime("us")).to_physical(), None
    if kind.is_numeric() and kind not in (pl.Float16, pl.Float32):  # which cannot hold a time to the minute
        return _since_1970(times.cast(pl.Float64) if kind.is_decimal() else times, where), UTC
    if not isinstance(kind, pl.String | pl.Categorical | pl.Enum | pl.Null):
        raise DataError(f"{where}: the recording's times are of type {kind.base_type()}; write them as {_ISO_TOLD}")

    text = _cells(times)
    numbers = text.cast(pl.Float64, strict=False)
    if numbers.is_not_null().any() and numbers.null_count() == text.null_count():
        whole = text.cast(pl.Int64, strict=False)
        return _since_1970(whole if whole.null_count() == text.null_count() else numbers, where), UTC
    return _iso(text, where)


def _read_parquet(path: Path, where: str) -> tuple[pl.DataFrame, dict[str, tzinfo], set[str]]:
    """Return the table, the zones of columns of times with an offset, and the columns that were an index in pandas.

    polars knows zones by their names alone, and dies of others; times with an offset become times in UTC.
    """
    schema = pq.read_schema(path)
    index = (schema.pandas_metadata or {}).get("index_columns", [])
    counting = {name.strip() for name in index if isinstance(name, str)}
    told = {field.name: field.type.tz for field in schema if pa.types.is_timestamp(field.type) and field.type.tz}
    offsets = {name.strip(): _offset(zone, where) for name, zone in told.items()}
    zones: dict[str, tzinfo] = {name: zone for name, zone in offsets.items() if zone is not None}
    if not zones:
        return pl.read_parquet(path, glob=False), zones, counting

    with pq.ParquetFile(path) as file:
        table = file.read()
    utc = [
        field.with_type(pa.timestamp(field.type.unit, "UTC")) if field.name.strip() in zones else field
        for field in table.schema
    ]
    return pl.DataFrame(table.cast(pa.schema(utc))), zones, counting


def _offset(zone: str, where: str) -> timezone | None:
    """Return the zone of an offset, as +05:30; None for one that has a name, as Europe/Berlin."""
    if re.fullmatch(_OFFSET, zone) and zone != "UTC":
        return timezone(timedelta(minutes=int(_minutes(pl.Series([zone]))[0])))
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        remedy = "write a name, as Europe/Berlin, or an offset, as +05:30"
        raise DataError(f"{where}: the recording has times of an unknown time zone; {remedy}") from error
    return None


def _time_column(table: pl.DataFrame, where: str) -> tuple[pl.Series, set[str]]:
    """Return the times, and the columns that tell them: one, or a date and a time of day side by side."""
    column = next((name for name in table.columns if name.lower() in _TIME_COLUMNS), None)
    if column is None:
        raise DataError(f"{where}: the recording has no column {', '.join(_TIME_COLUMNS)}; name its times so")

    times = table[column]
    text = times.cast(pl.String) if times.dtype == pl.Time else times
    if text.dtype != pl.String or not _cells(text).drop_nulls().str.contains(_TIME_OF_DAY).all():
        return times, {column}
    if text.null_count() == len(text):
        return times, {column}

    date = next((name for name in table.columns if name.lower() == _DATE_COLUMN), None)
    if date is None:
        raise DataError(f"{where}: the recording's times are times of day; add a column {_DATE_COLUMN}, as 2024-03-01")
    return _cells(table[date].cast(pl.String)) + " " + _cells(text), {column, date}


def _since_1970(numbers: pl.Series, where: str) -> pl.Series:
    known = numbers.fill_nan(None) if numbers.dtype.is_float() else numbers
    least, most = known.min(), known.max()
    if least is None or most is None:
        return known.cast(pl.Int64)
    for ticks, (times, parts) in _UNITS.items():
        if _EARLIEST * ticks <= float(least) and float(most) <= _LATEST * ticks:  # type: ignore[arg-type]
            if known.dtype.is_float():
                return (known * times / parts).round().cast(pl.Int64)
            return known.cast(pl.Int64) * times // parts
    raise DataError(
        f"{where}: the recording's times are numbers that do not all lie in the years 1980 to 2200 as s, ms, us or ns "
        f"since 1970; write them as {_ISO_TOLD}"
    )


def _iso(text: pl.Series, where: str) -> tuple[pl.Series, tzinfo | None]:
    parts = text.str.extract_groups(_ISO).struct.unnest()
    date, clock, second, fraction, offset = (parts.to_series(number) for number in range(5))
    time = clock.fill_null("00:00").str.zfill(5) + ":" + second.fill_null("00") + "." + fraction.fill_null("0")
    local = (date + " " + time).str.to_datetime("%F %T%.f", time_unit="us", strict=False)
    wrong = local.is_null() & text.is_not_null()
    if wrong.any():
        raise DataError(f"{where}: the recording's time in row {wrong.arg_true()[0]} is not written as {_ISO_TOLD}")

    zoned = offset.is_not_null().filter(text.is_not_null())
    if not zoned.any():
        return local.to_physical(), None
    if not zoned.all():
        raise DataError(f"{where}: some of the recording's times have a time zone and some have none; write all alike")
    minutes = _minutes(offset)
    micros = local.to_physical() - minutes.cast(pl.Int64) * 60_000_000
    first = micros.arg_min()
    return micros, UTC if first is None else timezone(timedelta(minutes=int(minutes[first])))


def _minutes(offset: pl.Series) -> pl.Series:
    """Return offsets from UTC, as +01:00, in minutes."""
    digits = offset.str.replace_all(r"[^\d]", "").str.pad_end(4, "0")
    number = digits.str.slice(0, 2).cast(pl.Int64) * 60 + digits.str.slice(2, 2).cast(pl.Int64)
    return pl.select(pl.when(offset.str.starts_with("-")).then(-number).otherwise(number)).to_series()


def _cells(column: pl.Series) -> pl.Series:
    """Return the text of cells, null where it stands for no value."""
    text = column.cast(pl.String).str.strip_chars()
    gap = text.str.to_lowercase().is_in(list(_GAPS))
    return pl.select(pl.when(~gap).then(text)).to_series()


def _numbers(column: pl.Series, where: str) -> pl.Series | None:
    """Return a column as float32; None for one without a number in any of its cells, but for an empty one."""
    kind = column.dtype
    if kind.is_numeric() or kind in (pl.Boolean, pl.Null):
        return column.cast(pl.Float32)
    if not isinstance(kind, pl.String | pl.Categorical | pl.Enum):
        return None

    text = _cells(column)
    numbers = text.cast(pl.Float64, strict=False)
    wrong = numbers.is_null() & text.is_not_null()
    if wrong.any() and numbers.is_not_null().any():
        raise DataError(
            f"{where}: the recording's column {visible(column.name)} holds text in row {wrong.arg_true()[0]}; write a "
            "number there, or nothing for a gap"
        )
    return None if wrong.any() else numbers.cast(pl.Float32)


def _check_channels(values: pl.DataFrame, counting: set[str], where: str) -> None:
    """Raise DataError for a numeric column that tells time or counts rows: it is no measurement."""
    for name in values.columns:
        if name in counting or re.search(_NO_CHANNEL, name):
            raise DataError(
                f"{where}: the recording's column {visible(name)} tells a time or counts rows, which is no channel; "
                "take it out, or give it another name"
            )


def _check_times(micros: pl.Series, values: pl.DataFrame, where: str) -> None:
    """Raise DataError for a row with values and no time, which belongs nowhere."""
    if not micros.null_count():
        return
    lost = micros.is_null() & ~values.fill_nan(None).select(pl.all_horizontal(pl.all().is_null())).to_series()
    if lost.any():
        raise DataError(
            f"{where}: the recording's row {lost.arg_true()[0]} has values and no time; write it, or drop it"
        )
