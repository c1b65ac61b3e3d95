"""Times as recordings tell them: texts, numbers since 1970 and offsets, and the step between them."""

import re
from datetime import UTC, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import polars as pl
from numpy.typing import NDArray

from clintune.core.errors import DataError

_GAPS = ("", "na", "n/a", "#n/a", "nan", "null", "none", "nil", "-", "--", "?", ".")
"""Cells that stand for no value, in whatever case."""

_OFFSET = r"Z|UTC|[+-](?:[01]\d|2[0-3])(?::?[0-5]\d)?"
_ISO = (
    r"(?i)^(\d{4}-\d{2}-\d{2})"
    rf"(?:[T ] *(\d{{1,2}}:\d{{2}})(?::(\d{{2}})(?:[.,](\d{{1,6}})\d*)?)? *({_OFFSET})?)?$"
)
_ISO_TOLD = "ISO 8601 as 2024-03-01 22:30:00 or 2024-03-01T22:30:00+01:00, or numbers of s, ms, us or ns since 1970"

_UNITS = {1: (1_000_000, 1), 1_000: (1_000, 1), 1_000_000: (1, 1), 1_000_000_000: (1, 1_000)}
"""Ticks a second since 1970, with what multiplies and divides them to microseconds."""
_EARLIEST, _LATEST = 315_532_800, 7_258_118_400
"""The years 1980 to 2200 in seconds: no number is a time in two units, and dates written as numbers are none."""

_DIGITS = [10**power for power in range(6, -1, -1)]
"""What clocks tell, in microseconds: whole seconds, tenths, and so on."""


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
    if kind.is_numeric() and kind not in (
        pl.Float16,
        pl.Float32,
    ):  # which cannot hold a time to the minute
        return _since_1970(times.cast(pl.Float64) if kind.is_decimal() else times, where), UTC
    if not isinstance(kind, pl.String | pl.Categorical | pl.Enum | pl.Null):
        raise DataError(
            f"{where}: the recording's times are of type {kind.base_type()}; write them as {_ISO_TOLD}"
        )

    text = cells(times)
    numbers = text.cast(pl.Float64, strict=False)
    if numbers.is_not_null().any() and numbers.null_count() == text.null_count():
        whole = text.cast(pl.Int64, strict=False)
        return _since_1970(
            whole if whole.null_count() == text.null_count() else numbers, where
        ), UTC
    return _iso(text, where)


def zone_of(zone: str, where: str) -> timezone | None:
    """Return the zone of an offset, as +05:30; None for one that has a name, as Europe/Berlin."""
    if re.fullmatch(_OFFSET, zone) and zone != "UTC":
        return timezone(timedelta(minutes=int(_minutes(pl.Series([zone]))[0])))
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        remedy = "write a name, as Europe/Berlin, or an offset, as +05:30"
        raise DataError(
            f"{where}: the recording has times of an unknown time zone; {remedy}"
        ) from error
    return None


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
    return min(
        *means,
        *(_over_gaps(steps, mean) for mean in means),
        key=lambda step: _apart(micros, step, near),
    )


def cells(column: pl.Series) -> pl.Series:
    """Return the text of cells, null where it stands for no value."""
    text = column.cast(pl.String).str.strip_chars()
    gap = text.str.to_lowercase().is_in(list(_GAPS))
    return pl.select(pl.when(~gap).then(text)).to_series()


def _over_gaps(steps: NDArray[np.int64], step: float) -> float:
    """Return the mean step where a gap counts as the steps that it lasts, so that rounding does not add up."""
    numbers = np.rint(steps / step)
    short = numbers < 100
    return float(steps[short].sum() / numbers[short].sum())


def _apart(micros: NDArray[np.int64], step: float, near: NDArray[np.bool_]) -> int:
    """Return how many neighbours, those marked `near`, a grid puts on one place or with a gap in between."""
    places = np.rint((micros - micros[0]) / step)
    return int((np.diff(places)[near] != 1).sum())


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
    time = (
        clock.fill_null("00:00").str.zfill(5)
        + ":"
        + second.fill_null("00")
        + "."
        + fraction.fill_null("0")
    )
    local = (date + " " + time).str.to_datetime("%F %T%.f", time_unit="us", strict=False)
    wrong = local.is_null() & text.is_not_null()
    if wrong.any():
        raise DataError(
            f"{where}: the recording's time in row {wrong.arg_true()[0]} is not written as {_ISO_TOLD}"
        )

    zoned = offset.is_not_null().filter(text.is_not_null())
    if not zoned.any():
        return local.to_physical(), None
    if not zoned.all():
        raise DataError(
            f"{where}: some of the recording's times have a time zone and some have none; write all alike"
        )
    minutes = _minutes(offset)
    micros = local.to_physical() - minutes.cast(pl.Int64) * 60_000_000
    first = micros.arg_min()
    return micros, UTC if first is None else timezone(timedelta(minutes=int(minutes[first])))


def _minutes(offset: pl.Series) -> pl.Series:
    """Return offsets from UTC, as +01:00, in minutes."""
    digits = offset.str.replace_all(r"[^\d]", "").str.pad_end(4, "0")
    number = digits.str.slice(0, 2).cast(pl.Int64) * 60 + digits.str.slice(2, 2).cast(pl.Int64)
    return pl.select(
        pl.when(offset.str.starts_with("-")).then(-number).otherwise(number)
    ).to_series()
