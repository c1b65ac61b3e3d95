"""Rest and activity rhythm: nonparametric features of recordings of days; nothing is learned."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import combinations, pairwise
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clintune.contracts import Item, Pieces
from clintune.core.disclosure import SMALLEST_SHOWN, Having
from clintune.core.errors import ConfigError
from clintune.modalities.recording import Signal
from clintune.modalities.recording_clock import extent, window_hours
from clintune.modalities.recording_doubts import RecordingDoubts
from clintune.modalities.usual import usual_values
from clintune.modalities.wearable import Wearable

Hours = NDArray[np.float64]

LAGS = (1, 5, 15, 30)
"""Lags of the autocorrelations in minutes."""
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
_CLIP = 5.0


class Rhythm(Wearable):
    """Rest and activity features of windows of whole days, each window one piece and one token.

    `features` lists groups, computed for each channel:

    - `profile`: the mean transformed signal of each hour of the day;
    - `rhythm`: interdaily stability, intradaily variability, the least active five and the most
      active ten hours (transformed), and the relative amplitude;
    - `level`: mean and deviation of the transformed signal, and the share of zeros;
    - `fragmentation`: the log chances that an active sample follows one at rest, and the reverse;
    - `memory`: autocorrelations of the log signal, with rest as 0.

    The last two come once for each threshold of `rest`, the greatest value at rest. Features use
    observed samples alone. The training recordings standardise them, and they are clipped to ±5
    deviations. A token holds the features, then a mark of each that is 1 where it is known. An
    unknown feature is 0, like the hourly profile of a recording without local time. A probe chooses
    among the groups.

    Pieces: `features` [P, C * F], NaN where unknown. Raises ConfigError for a group that does not
    exist, or for none.
    """

    scaled: ClassVar[bool] = True
    length_setting: ClassVar[tuple[str, int]] = ("days", 24)

    def __init__(
        self,
        *,
        rate_hz: float = 1 / 60,
        days: int = 14,
        channels: list[str] | None = None,
        codes: list[str] | None = None,
        min_subjects: int = SMALLEST_SHOWN,
        transform: Literal["none", "log1p"] = "log1p",
        features: Sequence[str] = ("profile", "rhythm", "level"),
        rest: Sequence[float] = (0.0,),
        max_pieces: int = 1,
    ) -> None:
        super().__init__(
            rate_hz=rate_hz,
            window_hours=24 * days,
            channels=channels,
            codes=codes,
            min_subjects=min_subjects,
            transform=transform,
            mode="frozen",
            max_pieces=max_pieces,
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
            self._name(group, value): len(GROUPS[group]) for group in features for value in rest
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

    def build(self, statistics: Mapping[str, Any]) -> None:
        """Keep the statistics; there are no weights."""
        self._keep(statistics)
        self.register_buffer("centre", torch.tensor(self.mean), persistent=False)
        self.register_buffer("spread", torch.tensor(self.std), persistent=False)
        self.width = 2 * len(self.mean)

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

    def encode(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """Standardise to [P, 1, W]."""
        scaled = (tensors["features"] - self.get_buffer("centre")) / self.get_buffer("spread")
        known = scaled.isfinite().to(scaled.dtype)
        clipped = scaled.nan_to_num(0.0).clamp(-_CLIP, _CLIP)
        return torch.cat([clipped, known], dim=-1).unsqueeze(1)

    def settings(self) -> dict[str, Any]:
        """Return what determines the tokens; as there are no weights, these are all settings."""
        signal = ("rate_hz", "window_hours", "channels", "transform")
        names = (*signal, "features", "rest", "max_pieces")
        return {"class": type(self).__qualname__} | {name: getattr(self, name) for name in names}

    @property
    def probe_choices(self) -> list[list[int]]:
        """Return the columns of every choice of groups, all groups at one threshold of rest."""
        # The columns of each group. A block holds the features of a channel, or their marks.
        ends = np.cumsum([0, *self.widths.values()])
        blocks = range(0, self.width, int(ends[-1]))
        columns: dict[str, list[int]] = {}
        for name, span in zip(self.widths, pairwise(ends.tolist()), strict=True):
            columns[name] = [block + column for block in blocks for column in range(*span)]

        # Every choice once: one without rest is the same at each threshold.
        choices: dict[tuple[str, ...], list[int]] = {}
        for rest in self.rest:
            groups = [self._name(group, rest) for group in self.features]
            for number in range(1, len(groups) + 1):
                for names in combinations(groups, number):
                    choices[names] = [column for name in names for column in columns[name]]
        return list(choices.values())

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
                groups[self._name("fragmentation", rest)] = transitions(active, seen)
                groups[self._name("memory", rest)] = memory(values, rest, window.rate_hz)

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
    def _name(group: str, rest: float) -> str:
        """Return the name of a group at a threshold of rest, if it depends on rest."""
        return f"{group} {rest:g}" if group in _OF_REST else group


def hourly_means(signal: Signal) -> tuple[Hours, int]:
    """Average a signal by the hours of the clock: means [C, H], and the hour of day of the first.

    An hour is NaN when less than half of it was observed. Without a start, hours count from the
    first sample. The hour that the clock repeats in autumn counts as one hour; the hour that it
    leaves out in spring counts as not observed.
    """
    # Find the hour of each sample.
    per_hour = 3600 * signal.rate_hz
    begin = signal.start.minute / 60 + signal.start.second / 3600 if signal.start else 0.0
    passed = np.arange(signal.num_samples) / per_hour + signal.clock_shift()
    places = np.floor(begin + passed + 1e-9).astype(np.int64)

    # Average the observed samples of each hour.
    means = np.full((len(signal.values), int(places.max()) + 1), np.nan)
    for channel, row in enumerate(signal.values):
        seen = np.isfinite(row)
        counts = np.bincount(places[seen], minlength=means.shape[1])
        sums = np.bincount(places[seen], weights=row[seen], minlength=means.shape[1])
        enough = (counts > 0) & (counts >= per_hour / 2)
        means[channel, enough] = sums[enough] / counts[enough]
    return means, signal.start.hour if signal.start else 0


def daily_profile(hours: Hours, first: int) -> Hours:
    """Average hourly means [H] over the days to [24]; NaN for an hour that was never observed.

    `first` is the hour of day of the first mean.
    """
    seen = np.isfinite(hours)
    place = (first + np.arange(len(hours)))[seen] % 24
    counts = np.bincount(place, minlength=24)
    sums = np.bincount(place, weights=hours[seen], minlength=24)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def interdaily_stability(hours: Hours, first: int) -> float:
    """Return IS, the share of the hours' variance that the mean day explains.

    It is 1 if all days are the same. Witting et al. (Biological Psychiatry 1990); both variances
    leave out hours that were not observed.
    """
    seen = hours[np.isfinite(hours)]
    profile = daily_profile(hours, first)
    between = profile[np.isfinite(profile)]
    if _constant(seen):
        return float("nan")
    return float(((between - seen.mean()) ** 2).mean() / seen.var())


def intradaily_variability(hours: Hours) -> float:
    """Return IV, the mean squared change from hour to hour divided by the variance.

    It is near 0 for a sine and near 2 for noise. Witting et al. (Biological Psychiatry 1990); a
    change counts where both of its hours were observed.
    """
    seen, changes = hours[np.isfinite(hours)], np.diff(hours)
    changes = changes[np.isfinite(changes)]
    if len(changes) == 0 or _constant(seen):
        return float("nan")
    return float((changes**2).mean() / seen.var())


def extreme_hours(profile: Hours) -> tuple[float, float]:
    """Return L5 and M10, the least mean of five and the greatest of ten hours of the mean day.

    Van Someren et al. (Chronobiology International 1999). The hours are consecutive, and the day is
    a circle. Stretches with an hour that was never observed do not count.
    """
    around = np.concatenate([profile, profile[:9]])
    fives = [around[start : start + 5].mean() for start in range(24)]
    tens = [around[start : start + 10].mean() for start in range(24)]
    least = min((value for value in fives if np.isfinite(value)), default=np.nan)
    most = max((value for value in tens if np.isfinite(value)), default=np.nan)
    return float(least), float(most)


def transitions(active: NDArray[np.bool_], seen: NDArray[np.bool_]) -> tuple[float, float]:
    """Return the log chances that activity follows a sample at rest, and rest an active one.

    Lim et al. (Sleep 2011). Pairs with a gap are left out. 0.001 is added to each chance, so that
    no logarithm is minus infinity.
    """
    pair = seen[:-1] & seen[1:]
    before, after = active[:-1][pair], active[1:][pair]
    up = after[~before].mean() if (~before).any() else np.nan
    down = (~after[before]).mean() if before.any() else np.nan
    return float(np.log(up + 1e-3)), float(np.log(down + 1e-3))


def memory(values: NDArray[np.float32], rest: float, rate_hz: float) -> list[float]:
    """Return the autocorrelations at `LAGS` of the log signal, where values up to `rest` are 0."""
    resting = np.where(np.isnan(values), np.nan, 0.0)
    active = np.where(values > rest, np.log1p(np.maximum(values, 0)), resting).astype(np.float64)
    lags = [max(1, round(minutes * 60 * rate_hz)) for minutes in LAGS]
    return [autocorrelation(active, lag) for lag in lags]


def autocorrelation(values: Hours, lag: int) -> float:
    """Return the correlation of a signal with itself `lag` samples later, over observed pairs."""
    first, second = values[:-lag], values[lag:]
    pair = np.isfinite(first) & np.isfinite(second)
    if pair.sum() < 3 or _constant(first[pair]) or _constant(second[pair]):
        return float("nan")
    return float(np.corrcoef(first[pair], second[pair])[0, 1])


def _constant(values: Hours) -> bool:
    """Return whether values vary by no more than rounding."""
    return len(values) < 2 or bool(np.ptp(values) <= 1e-6 * np.abs(values).max())
