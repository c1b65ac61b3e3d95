"""The reader of rest and activity rhythm: features of recordings of days; nothing is learned."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from clintune.contracts import Item, Pieces
from clintune.core.disclosure import Having
from clintune.core.errors import ConfigError
from clintune.modalities.recording import Signal
from clintune.modalities.recording_clock import extent, window_hours
from clintune.modalities.recording_doubts import RecordingDoubts
from clintune.modalities.recording_reader import RecordingReader, Transform
from clintune.modalities.rhythm_features import (
    LAGS,
    Hours,
    daily_profile,
    extreme_hours,
    hourly_means,
    interdaily_stability,
    intradaily_variability,
    memory,
    transitions,
)
from clintune.modalities.usual import usual_values

GROUPS = {
    "profile": tuple(f"hour_{hour:02d}" for hour in range(24)),
    "rhythm": ("interdaily_stability", "intradaily_variability", "l5", "m10", "relative_amplitude"),
    "level": ("mean", "deviation", "share_of_zeros"),
    "fragmentation": ("rest_to_active", "active_to_rest"),
    "memory": tuple(f"autocorrelation_{lag}" for lag in LAGS),
}
"""The features of each group, by name."""
_OF_REST = ("fragmentation", "memory")
"""Groups that depend on the threshold of rest."""


class RhythmReader(RecordingReader):
    """A reader of rest and activity features of windows of whole days, each window one piece.

    `features` lists groups, computed for each channel:

    - `profile`: the mean transformed signal of each hour of the day;
    - `rhythm`: interdaily stability, intradaily variability, the least active five and the most
      active ten hours (transformed), and the relative amplitude;
    - `level`: mean and deviation of the transformed signal, and the share of zeros;
    - `fragmentation`: the log chances that an active sample follows one at rest, and the reverse;
    - `memory`: autocorrelations of the log signal, with rest as 0.

    The last two come once for each threshold of `rest`, the greatest value at rest. Features use
    observed samples alone. Pieces: `features` [P, C * F], NaN where unknown, as the hourly profile
    of a recording without local time. Raises ConfigError for a group that does not exist, or for
    none.
    """

    length_setting: ClassVar[tuple[str, int]] = ("days", 24)

    def __init__(
        self,
        *,
        rate_hz: float,
        days: int,
        transform: Transform,
        features: Sequence[str],
        rest: Sequence[float],
        channels: list[str] | None,
        min_subjects: int,
        max_pieces: int,
        codes: Sequence[str] | None = None,
    ) -> None:
        super().__init__(
            rate_hz=rate_hz,
            window_hours=24 * days,
            transform=transform,
            channels=channels,
            min_subjects=min_subjects,
            max_pieces=max_pieces,
            codes=codes,
        )

        if not features or not rest:
            raise ConfigError("features and rest say what is computed; give at least one of each")
        if unknown := sorted(set(features) - GROUPS.keys()):
            raise ConfigError(
                f"features '{unknown[0]}' does not exist; choose among {', '.join(GROUPS)}"
            )

        # The width of each group, in the order of a channel's features.
        self.features = list(features)
        self.rest = list(rest)
        self.widths = {
            self.name_of(group, value): len(GROUPS[group]) for group in features for value in rest
        }

    def fit(self, items: Iterable[Item]) -> dict[str, Any]:
        """Return the channels, and mean and deviation of their features over the training windows.

        They are 0 and 1 for a feature that too few training subjects have.
        """
        # Collect the features of all windows by channel.
        found: dict[str, list[Hours]] = {}
        subjects: dict[str, list[int]] = {}
        having, doubts = Having(self.min_subjects), RecordingDoubts(self.min_subjects)
        for subject, signal in self.read_all(items, doubts):
            newest = signal.windows(self.window_length)[-self.max_pieces :]
            for window in self._parts(signal, newest):
                for name, features in zip(signal.channels, self._features(window), strict=True):
                    found.setdefault(name, []).append(features)
                    subjects.setdefault(name, []).append(subject)
                    if np.isfinite(features).any():
                        having.add(name, subject)

        # Keep the known and usual values of each feature, channel by channel.
        names = self.frequent_channels(found, having)
        absent = np.full(sum(self.widths.values()), np.nan)
        columns: list[Hours] = []
        for name in names:
            of = np.array(subjects.get(name, [0]))
            table = np.stack(found.get(name, [absent]))
            columns += [self._measured(column, of) for column in table.T]

        return {
            "channels": names,
            "mean": [float(column.mean()) if len(column) else 0.0 for column in columns],
            "std": [(float(column.std()) or 1.0) if len(column) else 1.0 for column in columns],
            **self.floor_of(found, having),
            **doubts.statistics(filter(having.__contains__, names)),
        }

    def preprocess(self, item: Item, view: int = 0) -> Pieces:
        """Read one recording up to the prediction time; compute features of its newest windows."""
        signal = self.read(item, self.names)
        windows = signal.windows(self.window_length)
        newest = windows[-self.max_pieces :]

        rows = [self._features(part).reshape(-1) for part in self._parts(signal, newest)]
        features = np.array(rows).reshape(len(newest), len(self.mean))
        return Pieces(
            tensors={"features": torch.from_numpy(features.astype(np.float32))},
            hours=window_hours(signal, newest, item),
            extent=extent(signal, item),
            left_out=len(windows) - len(newest),
        )

    def _measured(self, column: Hours, subjects: NDArray[np.int64]) -> Hours:
        """Return the known and usual values of a feature, or none if of too few subjects."""
        known = np.isfinite(column)
        known[known] = usual_values(column[known])
        return column[known] if len(np.unique(subjects[known])) >= self.min_subjects else column[:0]

    def _parts(self, signal: Signal, windows: list[tuple[int, int]]) -> list[Signal]:
        return [signal.part(max(0, start), stop) for start, stop in windows]

    def _features(self, window: Signal) -> Hours:
        """Return the features [C, F] of one window, NaN where unknown."""
        hours, first = hourly_means(window)
        mapped_hours, _ = hourly_means(replace(window, values=self._transform(window.values)))
        rows = []
        for values, raw, mapped in zip(window.values, hours, mapped_hours, strict=True):
            profile = daily_profile(mapped, first) if window.start else np.full(24, np.nan)
            groups: dict[str, Sequence[float] | Hours] = {
                "profile": profile,
                "rhythm": self._rhythm(raw, first),
                "level": self._level(values),
            }

            # The groups that come once for each threshold.
            for rest in self.rest:
                active, seen = values > rest, np.isfinite(values)
                groups[self.name_of("fragmentation", rest)] = transitions(active, seen)
                groups[self.name_of("memory", rest)] = memory(values, rest, window.rate_hz)

            rows.append(np.concatenate([groups[name] for name in self.widths]))
        return np.array(rows)

    def _rhythm(self, hours: Hours, first: int) -> list[float]:
        """Return stability, variability, transformed L5 and M10, and relative amplitude."""
        least, most = extreme_hours(daily_profile(hours, first))
        transformed = self._transform(np.array([least, most]))
        amplitude = (most - least) / (most + least) if most + least > 0 else np.nan
        stability, variability = interdaily_stability(hours, first), intradaily_variability(hours)
        return [stability, variability, *transformed, amplitude]

    def _level(self, values: NDArray[np.float32]) -> list[float]:
        """Return mean and deviation of the transformed observed values, and the share of zeros."""
        seen = values[np.isfinite(values)].astype(np.float64)
        if not len(seen):
            return [np.nan] * 3
        level = self._transform(seen)
        return [level.mean(), level.std(), (seen == 0).mean()]

    @staticmethod
    def name_of(group: str, rest: float) -> str:
        """Return the name of a group at a threshold of rest, if it depends on rest."""
        return f"{group} {rest:g}" if group in _OF_REST else group
