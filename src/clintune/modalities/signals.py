"""Recordings of wearables and bedside monitors: read from several formats, brought to one rate, cut into windows."""

import warnings
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from math import ceil
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from clintune.core.errors import ConfigError, DataError

_TIME_COLUMNS = ("time", "timestamp", "datetime")
_MOST_GAPS = 1000
_REMEDY = "save it as .npz, .csv, .parquet or WFDB, as docs/bring_your_data.md says"
Values = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, slots=True)
class Signal:
    """A recording: `values` [C, T] float32 with NaN in gaps, `rate_hz` samples a second, names of the C `channels`.

    `start` is the local time of the first sample, null where the file does not say.
    """

    values: Values
    rate_hz: float
    channels: list[str]
    start: datetime | None = None

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
        return replace(self, values=np.stack(rows), channels=names)

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
        begin = self.start + timedelta(seconds=start / self.rate_hz) if self.start else None
        return replace(self, values=self.values[:, start:stop], start=begin)

    def clock(self) -> Values:
        """Return the local time of day of each sample in hours [T]; NaN where the start is not known."""
        if self.start is None:
            return np.full(self.num_samples, np.nan, dtype=np.float32)
        midnight = self.start.replace(hour=0, minute=0, second=0, microsecond=0)
        first = (self.start - midnight).total_seconds() / 3600
        return np.asarray((first + np.arange(self.num_samples) / (3600 * self.rate_hz)) % 24, dtype=np.float32)

    def windows(self, length: int, most: int) -> list[tuple[int, int]]:
        """Return the newest windows of `length` samples as (start, stop), oldest first, counted from the end.

        Windows without any observed sample are left out. The oldest may begin before the recording, at a negative
        start.
        """
        observed: NDArray[np.bool_] = np.isfinite(self.values).max(0)
        found: list[tuple[int, int]] = []
        for stop in range(self.num_samples, 0, -length):
            if len(found) < most and observed[max(0, stop - length) : stop].any():
                found.append((stop - length, stop))
        return found[::-1]


def read_signal(path: Path | None, where: str) -> Signal:
    """Read a recording; raises DataError naming `where` when it cannot be read or observes nothing."""
    if path is None or path.suffix.lower() not in _READERS:
        raise DataError(f"{where}: the recording is of an unknown format; {_REMEDY}")
    try:
        signal = _READERS[path.suffix.lower()](path, where)
    except (DataError, ConfigError):
        raise
    except Exception as error:
        raise DataError(f"{where}: the recording cannot be read ({type(error).__name__}); {_REMEDY}") from error
    if len(set(signal.channels)) < len(signal.channels):
        raise DataError(f"{where}: the recording has two channels of one name; rename one")
    if not np.isfinite(signal.rate_hz) or signal.rate_hz <= 0:
        raise DataError(f"{where}: the recording's rate is not a positive number of samples a second; correct it")
    if not np.isfinite(signal.values).any():
        raise DataError(f"{where}: the recording has no observed sample; leave the row out")
    values = np.where(np.isfinite(signal.values), signal.values, np.float32(np.nan))
    return replace(signal, values=values)


def _read_npz(path: Path, where: str) -> Signal:
    with np.load(path, allow_pickle=False) as file:
        lacking = [name for name in ("signal", "rate_hz", "channels") if name not in file]
        if lacking:
            raise DataError(f"{where}: the recording lacks the array {lacking[0]}; {_REMEDY}")
        values, channels = np.atleast_2d(file["signal"]), [str(name) for name in np.atleast_1d(file["channels"])]
        if len(values) != len(channels):
            shape = f"{len(channels)} channels and a signal of shape {list(values.shape)}"
            raise DataError(f"{where}: the recording has {shape}; write it as [channels, samples]")
        start = str(file["start"]) if "start" in file else ""
        return Signal(
            values=values.astype(np.float32),
            rate_hz=float(file["rate_hz"]),
            channels=channels,
            start=datetime.fromisoformat(start).replace(tzinfo=None) if start else None,
        )


def _read_table(path: Path, where: str) -> Signal:
    """Read rows of a time and numeric channels; rows may be missing or irregular, the grid is their median step."""
    if path.suffix.lower() == ".parquet":
        table = pl.read_parquet(path, glob=False)
    else:
        table = pl.read_csv(path, glob=False, infer_schema_length=None)
    if any(name == "" or "_duplicated_" in name for name in table.columns):
        raise DataError(f"{where}: the recording has a column without a name of its own; name it or take it out")
    column = next((name for name in table.columns if name.lower() in _TIME_COLUMNS), None)
    if column is None:
        raise DataError(f"{where}: the recording has no column {', '.join(_TIME_COLUMNS)}; name its times so")
    time = pl.col(column)
    if table.schema[column] == pl.String:
        # Only ISO 8601 can be read without guessing which number is the day.
        time = time.str.replace("T", " ", literal=True).str.to_datetime("%F %T%.f")
    table = table.with_columns(time.cast(pl.Datetime("us"))).drop_nulls(column).sort(column)
    names = [name for name, kind in table.schema.items() if kind.is_numeric()]
    micros = table[column].to_physical().to_numpy()
    steps = np.diff(micros)
    if not (steps > 0).any() or not names:
        raise DataError(f"{where}: the recording needs two times and a numeric column; {_REMEDY}")
    step = float(np.median(steps[steps > 0]))
    places = np.rint((micros - micros[0]) / step).astype(np.int64)
    if places[-1] > _MOST_GAPS * len(places):
        raise DataError(f"{where}: the recording's times lie too far apart for its rate; look for a mistyped date")
    values = table.select(names).cast(pl.Float32).to_numpy().T
    first: datetime = table[column][0]
    return Signal(
        values=_means(np.ascontiguousarray(values), places, int(places[-1]) + 1),
        rate_hz=1e6 / step,
        channels=names,
        start=first.replace(tzinfo=None),
    )


def _read_wfdb(path: Path, where: str) -> Signal:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of its own use of pandas
            import wfdb
    except ImportError as error:
        raise ConfigError("reading WFDB records needs wfdb; pip install clintune[wfdb]") from error
    record = wfdb.rdrecord(str(path.with_suffix("")))
    return Signal(
        values=np.ascontiguousarray(record.p_signal.T, dtype=np.float32),
        rate_hz=float(record.fs),
        channels=list(record.sig_name),
        start=record.base_datetime,
    )


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
