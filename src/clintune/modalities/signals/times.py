"""Read the times of recordings: texts, numbers since 1970, offsets; find the step between them."""

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
_ISO_TOLD = (
    "ISO 8601 as 2024-03-01 22:30:00 or 2024-03-01T22:30:00+01:00, "
    "or numbers of s, ms, us or ns since 1970"
)

_UNITS = {1: (1_000_000, 1), 1_000: (1_000, 1), 1_000_000: (1, 1), 1_000_000_000: (1, 1_000)}
"""Ticks per second, with the factor and the divisor that make microseconds of them."""
_EARLIEST, _LATEST = 315_532_800, 7_258_118_400
"""The years 1980 to 2200 in seconds since 1970.

In these years no number is a time in two units, and a date written as a number is no time.
"""

_DIGITS = [10**power for power in range(6, -1, -1)]
"""The last digits that clocks tell, in microseconds: whole seconds, tenths, and so on."""


def read_times(times: pl.Series, where: str) -> tuple[pl.Series, tzinfo | None]:
    """Return microseconds since 1970, null where there is no time, and the time zone.

    Where there is a zone, the microseconds are in UTC. Of times with several offsets the zone is
    that of the first. Numbers count s, ms, us or ns since 1970 in UTC, whichever gives years from
    1980 to 2200. Raises DataError for anything else.
    """
    # Times, dates and numbers. A float of 32 bits cannot hold a time to the minute.
    kind = times.dtype
    if isinstance(kind, pl.Datetime):
        micros = times.cast(pl.Datetime("us", kind.time_zone)).to_physical()
        return micros, None if kind.time_zone is None else ZoneInfo(kind.time_zone)
    if kind == pl.Date:
        return times.cast(pl.Datetime("us")).to_physical(), None
    if kind.is_numeric() and kind not in (pl.Float16, pl.Float32):
        return _since_1970(times.cast(pl.Float64) if kind.is_decimal() else times, where), UTC
    if not isinstance(kind, pl.String | pl.Categorical | pl.Enum | pl.Null):
        raise DataError(
            f"{where}: the recording's times are of type {kind.base_type()}; "
            f"write them as {_ISO_TOLD}"
        )

    # Text, which may hold numbers. Whole numbers stay so, because they are exact.
    text = cells(times)
    numbers = text.cast(pl.Float64, strict=False)
    if numbers.is_not_null().any() and numbers.null_count() == text.null_count():
        whole = text.cast(pl.Int64, strict=False)
        exact = whole.null_count() == text.null_count()
        return _since_1970(whole if exact else numbers, where), UTC
    return _iso(text, where)


def zone_of(zone: str, where: str) -> timezone | None:
    """Return the zone of an offset, as +05:30; None for a zone with a name, as Europe/Berlin.

    Raises DataError for an unknown name.
    """
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
    """Return the usual step [microseconds] between ascending times of which some differ.

    It is their median, corrected for the rounding of the clock: a clock that tells milliseconds
    writes 64 Hz as steps of 15 and 16 ms. Candidates are the mean of all steps at most one digit of
    the clock from the median (which is one of the steps), the mean of all steps near it, and the
    same two with gaps divided into steps. The first that puts the most near neighbours on places
    side by side is taken.
    """
    # The steps near the median, and the last digit of the clock.
    steps = np.diff(micros)
    median = np.quantile(steps[steps > 0], 0.5, method="lower")
    near = (steps >= 0.5 * median) & (steps <= 1.5 * median)
    digit = next(digit for digit in _DIGITS if not (steps % digit).any())

    # The candidates, and the best of them.
    close = near & (np.abs(steps - median) <= digit)
    means = [float(steps[kind].mean()) for kind in (close, near)]
    candidates = [*means, *(_over_gaps(steps, mean) for mean in means)]
    return min(candidates, key=lambda step: _apart(micros, step, near))


def cells(column: pl.Series) -> pl.Series:
    """Return the text of cells, null where the text stands for no value."""
    text = column.cast(pl.String).str.strip_chars()
    gap = text.str.to_lowercase().is_in(list(_GAPS))
    return pl.select(pl.when(~gap).then(text)).to_series()


def _over_gaps(steps: NDArray[np.int64], step: float) -> float:
    """Return the mean step, where a gap counts as the number of steps that it lasts.

    So the rounding of single steps does not add up.
    """
    numbers = np.rint(steps / step)
    short = numbers < 100
    return float(steps[short].sum() / numbers[short].sum())


def _apart(micros: NDArray[np.int64], step: float, near: NDArray[np.bool_]) -> int:
    """Return how many `near` neighbours a grid of steps does not put side by side."""
    places = np.rint((micros - micros[0]) / step)
    return int((np.diff(places)[near] != 1).sum())


def _since_1970(numbers: pl.Series, where: str) -> pl.Series:
    """Return microseconds since 1970 of numbers in a unit that gives years from 1980 to 2200."""
    known = numbers.fill_nan(None) if numbers.dtype.is_float() else numbers
    least, most = known.min(), known.max()
    if least is None or most is None:
        return known.cast(pl.Int64)

    for ticks, (times, parts) in _UNITS.items():
        earliest, latest = _EARLIEST * ticks, _LATEST * ticks
        if earliest <= float(least) and float(most) <= latest:  # type: ignore[arg-type]
            if known.dtype.is_float():
                return (known * times / parts).round().cast(pl.Int64)
            return known.cast(pl.Int64) * times // parts

    raise DataError(
        f"{where}: the recording's times are numbers that do not all lie in the years 1980 to 2200 "
        f"as s, ms, us or ns since 1970; write them as {_ISO_TOLD}"
    )


def _iso(text: pl.Series, where: str) -> tuple[pl.Series, tzinfo | None]:
    """Return microseconds since 1970 and the zone of texts in ISO 8601."""
    # Read the local times; what a text leaves out is 0.
    parts = text.str.extract_groups(_ISO).struct.unnest()
    date, clock, second, fraction, offset = (parts.to_series(number) for number in range(5))
    minute = clock.fill_null("00:00").str.zfill(5)
    time = minute + ":" + second.fill_null("00") + "." + fraction.fill_null("0")
    local = (date + " " + time).str.to_datetime("%F %T%.f", time_unit="us", strict=False)
    wrong = local.is_null() & text.is_not_null()
    if wrong.any():
        raise DataError(
            f"{where}: the recording's time in row {wrong.arg_true()[0]} "
            f"is not written as {_ISO_TOLD}"
        )

    # Subtract the offsets, which all of the times or none of them must have.
    zoned = offset.is_not_null().filter(text.is_not_null())
    if not zoned.any():
        return local.to_physical(), None
    if not zoned.all():
        raise DataError(
            f"{where}: some of the recording's times have a time zone and some have none; "
            "write all alike"
        )
    minutes = _minutes(offset)
    micros = local.to_physical() - minutes.cast(pl.Int64) * 60_000_000
    first = micros.arg_min()
    return micros, UTC if first is None else timezone(timedelta(minutes=int(minutes[first])))


def _minutes(offset: pl.Series) -> pl.Series:
    """Return offsets from UTC, as +01:00, in minutes."""
    digits = offset.str.replace_all(r"[^\d]", "").str.pad_end(4, "0")
    number = digits.str.slice(0, 2).cast(pl.Int64) * 60 + digits.str.slice(2, 2).cast(pl.Int64)
    west = offset.str.starts_with("-")
    return pl.select(pl.when(west).then(-number).otherwise(number)).to_series()
