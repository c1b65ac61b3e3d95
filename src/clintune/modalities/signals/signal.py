"""Recordings of wearables and bedside monitors: brought to a rate, cut at a moment, cut to windows.

A recording's own clock has a time zone or is a local one, like the times of a cohort. The two kinds
are never compared. The time of day is always the local one.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from math import ceil, floor
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
from numpy.typing import NDArray

MOST_VALUES = 2**29
"""Most values of a recording at the rate of its modality: 2 GB."""
Values = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, slots=True)
class Signal:
    """A recording: `values` [C, T] float32, NaN in gaps, of C `channels`, at `rate_hz`.

    `start` is the local time of the first sample, `last` that of the last recorded one, with a zone
    where the file tells one; both are None where the file does not say. `cut` says that the
    recording goes on. `without_numbers` lists columns of a table that are no channels.
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
        """Return the signal with exactly these channels; a channel that it lacks is a gap."""
        gap = np.full(self.num_samples, np.nan, dtype=np.float32)
        rows = [
            self.values[self.channels.index(name)] if name in self.channels else gap
            for name in names
        ]
        values = np.array(rows, np.float32).reshape(len(names), self.num_samples)
        return replace(self, values=values, channels=names)

    def at_rate(self, rate_hz: float) -> "Signal":
        """Return the signal at another rate.

        A sample is the mean of the observed samples of its step, or the nearest one. A step without
        observed samples stays a gap. Rates within 0.1 % of each other are equal.
        """
        ratio = rate_hz / self.rate_hz
        if abs(ratio - 1) < 1e-3:
            return self
        length = ceil(self.num_samples * ratio - 1e-6)

        # Upwards, take the nearest sample.
        if ratio > 1:
            nearest = ((np.arange(length) + 0.5) / ratio).astype(np.int64)
            places = np.minimum(nearest, self.num_samples - 1)
            return replace(self, values=self.values[:, places], rate_hz=rate_hz)

        # Downwards, average.
        places = ((np.arange(self.num_samples) + 0.5) * ratio).astype(np.int64)
        return replace(self, values=means(self.values, places, length), rate_hz=rate_hz)

    def part(self, start: int, stop: int) -> "Signal":
        """Return the samples from `start` to before `stop`."""
        begin = later(self.start, start / self.rate_hz) if self.start else None
        return replace(self, values=self.values[:, start:stop], start=begin)

    def up_to(self, moment: datetime) -> "Signal":
        """Return the samples up to and at a moment; the moment has a zone if the start has one."""
        assert self.start is not None
        number = hours_between(self.start, moment) * 3600 * self.rate_hz
        stop = floor(number + 1e-9 + 1e-12 * abs(number)) + 1
        if stop >= self.num_samples:
            return self
        return replace(self.part(0, max(stop, 0)), cut=True)

    def clock(self) -> Values:
        """Return the local time of day of each sample in hours [T]; NaN without a start."""
        if self.start is None:
            return np.full(self.num_samples, np.nan, dtype=np.float32)

        midnight = self.start.replace(hour=0, minute=0, second=0, microsecond=0)
        first = (self.start - midnight).total_seconds() / 3600
        passed = np.arange(self.num_samples) / (3600 * self.rate_hz)
        return np.asarray((first + passed + self.clock_shift()) % 24, dtype=np.float32)

    def clock_shift(self) -> NDArray[np.float64]:
        """Return by how many hours the local clock was set forward since the first sample [T].

        Only a zone with a name tells of summer time. An hour that the clock repeats is the same
        hour of day twice.
        """
        if self.start is None or not isinstance(self.start.tzinfo, ZoneInfo):
            return np.zeros(self.num_samples)

        micros = np.round(np.arange(self.num_samples) * (1e6 / self.rate_hz)).astype(np.int64)
        since_1970 = pl.Series(micros + round(self.start.timestamp() * 1e6))
        moments = since_1970.cast(pl.Datetime("us", "UTC"))
        local = moments.dt.convert_time_zone(self.start.tzinfo.key)
        offset = local.dt.base_utc_offset() + local.dt.dst_offset()
        hours = offset.dt.total_seconds().to_numpy() / 3600
        return np.asarray(hours - hours[:1], np.float64)

    def windows(self, length: int) -> list[tuple[int, int]]:
        """Return windows of `length` samples as (start, stop), oldest first, counted from the end.

        Windows without any observed sample are left out. The oldest one may have a negative start,
        before the recording.
        """
        observed = np.isfinite(self.values)
        found: list[tuple[int, int]] = []
        for stop in range(self.num_samples, 0, -length):
            if observed[:, max(0, stop - length) : stop].any():
                found.append((stop - length, stop))
        return found[::-1]


def hours_between(start: datetime, stop: datetime) -> float:
    """Return how many hours `stop` is after `start`; both have a zone, or neither has."""
    if start.tzinfo is not None:  # in local time the clock's own jumps would count
        start, stop = start.astimezone(UTC), stop.astimezone(UTC)
    return (stop - start) / timedelta(hours=1)


def later(moment: datetime, seconds: float) -> datetime:
    """Return a moment so many seconds later, in its own zone."""
    if moment.tzinfo is None:
        return moment + timedelta(seconds=seconds)
    return (moment.astimezone(UTC) + timedelta(seconds=seconds)).astimezone(moment.tzinfo)


def means(values: Values, places: NDArray[np.int64], length: int) -> Values:
    """Average the observed samples [C, T] on each of `length` places; NaN where there are none.

    `places` [T] says on which place each sample falls.
    """
    means = np.full((len(values), length), np.nan, dtype=np.float32)
    for channel, row in enumerate(values):
        observed = np.isfinite(row)
        counts = np.bincount(places[observed], minlength=length)
        sums = np.bincount(places[observed], weights=row[observed], minlength=length)
        filled = counts > 0
        means[channel, filled] = sums[filled] / counts[filled]
    return means
