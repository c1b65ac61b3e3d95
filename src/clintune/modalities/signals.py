"""Recordings of wearables and bedside monitors: read from several formats, brought to one rate, cut into windows.

A recording's own clock is either one of a time zone or a local one, as the times of a cohort are; the two are never
compared. Its clock of day is always the local one.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from math import ceil, floor
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
from numpy.typing import NDArray

from clintune.core.errors import ConfigError, DataError
from clintune.modalities.signal_tables import read_signal_table, read_times, usual_step
from clintune.modalities.wfdb_records import read_record

_MOST_GAPS = 1000
MOST_VALUES = 2**29
"""Values of a recording at the rate that is asked for: 2 GB."""
_LOWEST_RATE, _HIGHEST_RATE = 1e-7, 1e7
_REMEDY = "save it as .npz, .csv, .parquet or WFDB, as docs/bring_your_data.md says"
Values = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, slots=True)
class Signal:
    """A recording: `values` [C, T] float32 with NaN in gaps, `rate_hz` samples a second, names of the C `channels`.

    `start` is the local time of the first sample, with its zone where the file tells one, and `last` that of the last
    one that was recorded; both null where the file does not say. `cut` says that the recording goes on. A table's
    columns `without_numbers` are no channels.
    """

    values: Values
    rate_hz: float
    channels: list[str]
    start: datetime | None = None
    last: datetime | None = None
    cut: bool = False
    without_numbers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        assert self.values.ndim == 2
        assert len(self.values) == len(self.channels)

    @property
    def num_samples(self) -> int:
        """Return T."""
        return int(self.values.shape[1])

    def with_channels(self, names: list[str]) -> "Signal":
        """Return the signal with exactly these channels; one that it lacks is a gap."""
        gap = np.full(self.num_samples, np.nan, dtype=np.float32)
        rows = [self.values[self.channels.index(name)] if name in self.channels else gap for name in names]
        return replace(self, values=np.array(rows, np.float32).reshape(len(names), self.num_samples), channels=names)

    def at_rate(self, rate_hz: float) -> "Signal":
        """Return the signal at another rate: the mean of the observed samples of each step, or the nearest one.

        A step without observed samples stays a gap. Rates within 0.1 % of each other count as equal.
        """
        ratio = rate_hz / self.rate_hz
        if abs(ratio - 1) < 1e-3:
            return self
        length = ceil(self.num_samples * ratio - 1e-6)
        if ratio > 1:
            places = np.minimum(((np.arange(length) + 0.5) / ratio).astype(np.int64), self.num_samples - 1)
            return replace(self, values=self.values[:, places], rate_hz=rate_hz)
        places = ((np.arange(self.num_samples) + 0.5) * ratio).astype(np.int64)
        return replace(self, values=_means(self.values, places, length), rate_hz=rate_hz)

    def part(self, start: int, stop: int) -> "Signal":
        """Return the samples from `start` to before `stop`."""
        begin = _later(self.start, start / self.rate_hz) if self.start else None
        return replace(self, values=self.values[:, start:stop], start=begin)

    def up_to(self, moment: datetime) -> "Signal":
        """Return the samples up to a moment, one at that very moment included; it has a zone if the start has."""
        assert self.start is not None
        number = hours_between(self.start, moment) * 3600 * self.rate_hz
        stop = floor(number + 1e-9 + 1e-12 * abs(number)) + 1
        if stop >= self.num_samples:
            return self
        return replace(self.part(0, max(stop, 0)), cut=True)

    def clock(self) -> Values:
        """Return the local time of day of each sample in hours [T]; NaN where the start is not known."""
        if self.start is None:
            return np.full(self.num_samples, np.nan, dtype=np.float32)
        midnight = self.start.replace(hour=0, minute=0, second=0, microsecond=0)
        first = (self.start - midnight).total_seconds() / 3600
        passed = np.arange(self.num_samples) / (3600 * self.rate_hz)
        return np.asarray((first + passed + self.clock_shift()) % 24, dtype=np.float32)

    def clock_shift(self) -> NDArray[np.float64]:
        """Return by how many hours the local clock has been set forward at each sample since the first [T].

        Only a zone with a name tells of summer time. An hour that the clock repeats is the same hour of day twice.
        """
        if self.start is None or not isinstance(self.start.tzinfo, ZoneInfo):
            return np.zeros(self.num_samples)
        micros = np.round(np.arange(self.num_samples) * (1e6 / self.rate_hz)).astype(np.int64)
        moments = pl.Series(micros + round(self.start.timestamp() * 1e6)).cast(pl.Datetime("us", "UTC"))
        local = moments.dt.convert_time_zone(self.start.tzinfo.key)
        offset = (local.dt.base_utc_offset() + local.dt.dst_offset()).dt.total_seconds().to_numpy() / 3600
        return np.asarray(offset - offset[:1], np.float64)

    def windows(self, length: int) -> list[tuple[int, int]]:
        """Return windows of `length` samples as (start, stop), oldest first, counted from the end.

        Windows without any observed sample are left out. The oldest may have a negative start, before the recording.
        """
        observed = np.isfinite(self.values)
        found: list[tuple[int, int]] = []
        for stop in range(self.num_samples, 0, -length):
            if observed[:, max(0, stop - length) : stop].any():
                found.append((stop - length, stop))
        return found[::-1]


def read_signal(path: Path | None, where: str, until: datetime | None = None) -> Signal:
    """Read a recording; of one that tells its clock, what was recorded up to `until`, a last sample at it included.

    What is left may be nothing. Raises DataError naming `where` when the file cannot be read or observes nothing, and
    where one of its clock and `until` has a time zone and the other has none.
    """
    if path is None or path.suffix.lower() not in _READERS:
        raise DataError(f"{where}: the recording is of an unknown format; {_REMEDY}")
    try:
        if path.exists() and not path.is_file():  # a pipe would keep everybody waiting
            raise DataError(f"{where}: the recording is no file, but a folder, pipe or device; {_REMEDY}")
        signal = _READERS[path.suffix.lower()](path, where, until)
    except (DataError, ConfigError):
        raise
    except FileNotFoundError as error:
        raise DataError(f"{where}: the recording is missing; restore it or drop the row") from error
    except (Exception, pl.exceptions.PanicException) as error:
        raise DataError(f"{where}: the recording cannot be read ({type(error).__name__}); {_REMEDY}") from error
    if len(set(signal.channels)) < len(signal.channels):
        raise DataError(f"{where}: the recording has two channels of one name; rename one")
    if any(name.lower() in ("", "nan") or "\ufffd" in name for name in signal.channels):
        raise DataError(f"{where}: the recording has a channel without a name, or one that is not UTF-8; rename it")
    if not np.isfinite(signal.values).any() and not signal.cut:
        raise DataError(f"{where}: the recording has no observed sample; leave the row out")
    values = np.where(np.isfinite(signal.values), signal.values, np.float32(np.nan))
    if signal.start is None or signal.num_samples == 0:
        return replace(signal, values=values)
    return replace(signal, values=values, last=_later(signal.start, (signal.num_samples - 1) / signal.rate_hz))


def check_clocks(start: datetime, moment: datetime, where: str) -> None:
    """Raise DataError where one of a recording's start and a cohort's moment has a time zone and the other has none."""
    if (start.tzinfo is None) == (moment.tzinfo is None):
        return
    mine, others = ("no time zone", "have one") if start.tzinfo is None else ("a time zone", "have none")
    raise DataError(
        f"{where}: the recording's times have {mine}, while the cohort's times {others}; write all with a zone, or all "
        "of one local clock without"
    )


def hours_between(start: datetime, stop: datetime) -> float:
    """Return how many hours `stop` is after `start`; both have a zone, or neither has."""
    if start.tzinfo is not None:
        start, stop = start.astimezone(UTC), stop.astimezone(UTC)  # else the clock's own jumps would count
    return (stop - start) / timedelta(hours=1)


def _read_npz(path: Path, where: str, until: datetime | None) -> Signal:
    with np.load(path, allow_pickle=False) as file:
        lacking = [name for name in ("signal", "rate_hz", "channels") if name not in file]
        if lacking:
            raise DataError(f"{where}: the recording lacks the array {lacking[0]}; {_REMEDY}")
        values, channels = np.atleast_2d(file["signal"]), [name.strip() for name in _texts(file["channels"])]
        rate, start = file["rate_hz"], file["start"] if "start" in file else np.array("")
    if len(values) != len(channels) or values.ndim != 2:
        shape = f"{len(channels)} channels and a signal of shape {list(values.shape)}"
        raise DataError(f"{where}: the recording has {shape}; write it as [channels, samples]")
    for name, array in (("signal", values), ("rate_hz", rate)):
        if array.dtype.kind not in "fiub":
            raise DataError(f"{where}: the recording's array {name} is of type {array.dtype.name}; write real numbers")
    if rate.size != 1:
        raise DataError(f"{where}: the recording's array rate_hz holds {rate.size} numbers; write one for all channels")
    with np.errstate(over="ignore"):  # what is too large for float32 is no measurement, but a gap
        values = values.astype(np.float32)
    rate_hz = float(rate.item())
    _check_rate(rate_hz, where)
    return _up_to(Signal(values=values, rate_hz=rate_hz, channels=channels, start=_start(start, where)), until, where)


def _texts(array: NDArray[np.generic]) -> list[str]:
    """Return the text of each element; bytes are UTF-8."""
    return [part.decode() if isinstance(part, bytes) else str(part) for part in array.reshape(-1)]


def _start(array: NDArray[np.generic], where: str) -> datetime | None:
    """Return the moment that `start` of an archive tells, if it does."""
    if array.size != 1:
        raise DataError(f"{where}: the recording's start holds {array.size} times; write that of the first sample")
    if array.dtype.kind == "M":
        array = array.astype("datetime64[us]")
    times = pl.Series(array.reshape(-1) if array.dtype.kind in "fiuM" else _texts(array))
    micros, zone = read_times(times, where)
    if micros[0] is None:
        return None
    moment = datetime.fromtimestamp(0, UTC) + timedelta(microseconds=int(micros[0]))
    return moment.replace(tzinfo=None) if zone is None else moment.astimezone(zone)


def _read_table(path: Path, where: str, until: datetime | None) -> Signal:
    """Read rows of a time and numeric channels; rows may be missing or irregular, the grid is their usual step."""
    table = read_signal_table(path, where)
    if len(np.unique(table.micros)) < 2:
        raise DataError(f"{where}: the recording needs two times; {_REMEDY}")

    start, everything = table.moment(0), table.micros
    if until is not None:
        check_clocks(start, until, where)
        table = table.up_to(until)  # before the grid is laid, which depends on every row

    if len(np.unique(table.micros)) > 1:
        step = usual_step(table.micros)
        places = np.rint((table.micros - table.micros[0]) / step).astype(np.int64)
        if places[-1] > _MOST_GAPS * len(places):
            raise DataError(f"{where}: the recording's times lie too far apart for its rate; look for a mistyped date")
        values = _means(table.values, places, int(places[-1]) + 1)
    else:  # of a recording that just began
        step, values = usual_step(everything), table.values[:, :0]
    _check_rate(1e6 / step, where)
    return Signal(
        values=values,
        rate_hz=1e6 / step,
        channels=table.channels,
        start=start,
        cut=len(table.micros) < len(everything),
        without_numbers=table.without_numbers,
    )


def _read_wfdb(path: Path, where: str, until: datetime | None) -> Signal:
    """Read a record; signals of lower rates are brought to the highest of them, which changes none of their values."""
    record = read_record(path, where)
    highest = max(record.rates)
    parts = []
    for values, rate, name in zip(record.signals, record.rates, record.names, strict=True):
        _check_rate(rate, where)
        parts.append(Signal(values=values[None], rate_hz=rate, channels=[name]).at_rate(highest))
    values = np.concatenate([part.values for part in parts])
    return _up_to(Signal(values=values, rate_hz=highest, channels=record.names, start=record.start), until, where)


def _up_to(signal: Signal, until: datetime | None, where: str) -> Signal:
    if until is None or signal.start is None:
        return signal
    check_clocks(signal.start, until, where)
    return signal.up_to(until)


def _check_rate(rate_hz: float, where: str) -> None:
    if not _LOWEST_RATE <= rate_hz <= _HIGHEST_RATE:
        bounds = f"between {_LOWEST_RATE:g} and {_HIGHEST_RATE:g}"
        raise DataError(f"{where}: the recording's rate is no number of samples a second {bounds}; correct it")


def _later(moment: datetime, seconds: float) -> datetime:
    """Return a moment so many seconds later, in its own zone."""
    if moment.tzinfo is None:
        return moment + timedelta(seconds=seconds)
    return (moment.astimezone(UTC) + timedelta(seconds=seconds)).astimezone(moment.tzinfo)


_READERS = {".npz": _read_npz, ".csv": _read_table, ".parquet": _read_table, ".hea": _read_wfdb}


def _means(values: Values, places: NDArray[np.int64], length: int) -> Values:
    """Average the observed samples [C, T] that fall on each of `length` places [T]; NaN where there are none."""
    means = np.full((len(values), length), np.nan, dtype=np.float32)
    for channel, row in enumerate(values):
        observed = np.isfinite(row)
        counts = np.bincount(places[observed], minlength=length)
        sums = np.bincount(places[observed], weights=row[observed], minlength=length)
        filled = counts > 0
        means[channel, filled] = sums[filled] / counts[filled]
    return means


def write_npz(path: Path, signal: Signal) -> None:
    """Write a recording as `.npz` with the keys signal, rate_hz, channels and start (empty where not known)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        path,
        signal=signal.values,
        rate_hz=np.array(signal.rate_hz),
        channels=np.array(signal.channels),
        start=np.array(signal.start.isoformat() if signal.start else ""),
    )
