"""Find what is doubtful about training recordings.

Doubtful are gaps, units, rates, lengths, names of channels, and numbers that stand for a gap.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from clintune.cohort.sentinels import SENTINELS, have_sentinels, is_sentinel
from clintune.cohort.two_groups import FAR, two_groups
from clintune.core.disclosure import SMALLEST_SHOWN, rough_share
from clintune.core.text import spelled_alike, visible
from clintune.modalities.signals.signal import Signal, Values

SHARES = ("gaps", "flat")
NAMES = ("marked", "zeros", "alike")
ABSENT, APART, RATES, HOURS = "absent", "apart", "rates", "hours"
"""Statistics that are only reported; no computation reads them."""
_REMEDY = "leave a gap where one is missing"
_FEW = 10
"""Values of a recording that may be alike by chance."""
_MUCH_ABSENT = 0.1
"""Share of subjects without a value of a channel above which it is reported."""
_NAMED = 3
"""Most channels that are named because subjects lack them."""
_NEAR_ZERO = 0.1
"""A mean within so many deviations of 0 says nothing about the scale of a recording."""
_ZEROS = 0.01
"""Share of zeros among a channel's values above which they can be doubtful."""
_APART_FROM_ZERO = 0.2
"""Zeros are apart if the least other value exceeds this part of the mean of all others."""
_SHORT = 20
"""Usual recordings that fit one window, above which it is reported."""


class RecordingDoubts:
    """Counts over recordings, at the rate of their files.

    It names nothing that fewer than 11 or `fewest` subjects have.
    """

    def __init__(self, fewest: int = SMALLEST_SHOWN) -> None:
        self._fewest = max(fewest, SMALLEST_SHOWN)

        # Subjects: all, with gaps, with a flat recording, and by what their recordings have.
        self._subjects = set[int]()
        self._gapped = set[int]()
        self._flat = set[int]()
        self._named = defaultdict[str, set[int]](set)
        self._having = defaultdict[str, set[int]](set)
        self._rates = defaultdict[float, set[int]](set)

        # Recordings: their lengths, and by channel their means, sentinels, ranges and zeros.
        self._hours: list[float] = []
        self._means = defaultdict[str, list[tuple[int, float]]](list)
        self._counts: dict[str, Any] = defaultdict(lambda: np.zeros(len(SENTINELS), np.int64))
        self._ranges: dict[str, tuple[float, float]] = {}
        self._zeros = defaultdict[str, _Zeros](_Zeros)

    def add_names(self, subject: int, signal: Signal) -> None:
        """Count the channels of a recording that hold a value, also those that nobody reads."""
        for name, row in zip(signal.channels, signal.values, strict=True):
            if np.isfinite(row).any():
                self._named[name].add(subject)

    def add(self, subject: int, signal: Signal) -> None:
        """Count the values of a subject's recording."""
        # Rate and length.
        self._subjects.add(subject)
        if signal.num_samples:
            self._rates[_rounded(signal.rate_hz, 2)].add(subject)
            self._hours.append(signal.num_samples / signal.rate_hz / 3600)

        # Gaps, and values that are all the same.
        observed = [row[np.isfinite(row)] for row in signal.values]
        number, channels = sum(map(len, observed)), sum(len(row) > 0 for row in observed)
        if 2 * number < signal.num_samples * max(channels, 1):
            self._gapped.add(subject)
        if number > _FEW and not any(len(row) and row.min() < row.max() for row in observed):
            self._flat.add(subject)

        # The values of each channel.
        for name, row in zip(signal.channels, observed, strict=True):
            if len(row):
                self._having[name].add(subject)
                self._count_values(name, subject, row)

    def statistics(self, names: Iterable[str]) -> dict[str, Any]:
        """Return what is doubtful; only `names`, channels that enough subjects have, are named.

        - `gaps` and `flat`: the shares of subjects with a recording of more gaps than values, and
          with a flat recording;
        - `marked`: channels with sentinels; `zeros`: channels with zeros far from all other values;
          `alike`: channels whose names differ in case or spaces alone;
        - `absent`: channels with the share of subjects without a value; `apart`: channels with the
          factor between two groups of recordings;
        - `rates`: the least and the greatest rate where they differ much, empty where few subjects
          have one of them;
        - `hours`: the usual length of a recording.
        """
        # Doubts about single channels, with what they are measured by.
        known = list(names)
        lacking = {name: self._subjects - self._having.get(name, set()) for name in known}
        absent = {name: self._share(len(subjects)) for name, subjects in lacking.items()}
        factors = {name: self._factor(name) for name in known}
        told_apart = {name: _rounded(by, 1) for name, by in factors.items() if by is not None}

        found: dict[str, Any] = {
            "gaps": self._share(len(self._gapped)),
            "flat": self._share(len(self._flat)),
            "marked": self._marked(known),
            "zeros": [name for name in known if self._zeros[name].are_apart],
            "alike": self._alike(),
            ABSENT: {name: share for name, share in absent.items() if share > _MUCH_ABSENT},
            APART: told_apart,
        }

        # Rates and lengths would tell of single subjects where there are few.
        if len(self._subjects) >= self._fewest:
            rates = self._different_rates()
            found |= {} if rates is None else {RATES: rates}
            found |= {HOURS: _rounded(float(np.median(self._hours)), 2)} if self._hours else {}
        return found

    def _share(self, number: int) -> float:
        return round(rough_share(number, len(self._subjects)), 3)

    def _marked(self, names: list[str]) -> list[str]:
        """Return the channels that hold sentinels: numbers such as -999 that are hardly values."""
        known = [name for name in names if name in self._counts]
        ranges = [self._ranges.get(name, (np.nan, np.nan)) for name in known]
        least, most = np.array(ranges).reshape(-1, 2).T
        counts = np.array([self._counts[name] for name in known]).reshape(-1, len(SENTINELS))
        marked = have_sentinels(counts, least, most)
        return [name for name, is_marked in zip(known, marked.tolist(), strict=True) if is_marked]

    def _alike(self) -> list[str]:
        """Return the channels of enough subjects whose names differ in case or spaces alone."""
        common = [name for name, subjects in self._named.items() if len(subjects) >= self._fewest]
        return [name for group in spelled_alike(common) for name in group]

    def _factor(self, name: str) -> float | None:
        """Return the factor between two groups of recordings by a channel's means, if any."""
        means = self._means.get(name, [])
        if len({subject for subject, _ in means}) < self._fewest:
            return None
        return two_groups(np.array([mean for _, mean in means]))

    def _different_rates(self) -> list[float] | None:
        """Return the least and the greatest rate that enough subjects have, if they differ much.

        The list is empty if only rates of fewer subjects make two groups.
        """
        common = [rate for rate, subjects in self._rates.items() if len(subjects) >= self._fewest]
        if common and max(common) >= FAR * min(common):
            return [min(common), max(common)]

        weights = np.array([len(subjects) for subjects in self._rates.values()], np.float64)
        factor = two_groups(np.array(list(self._rates)), weights, fewest=1)
        return None if factor is None else []

    def _count_values(self, name: str, subject: int, values: Values) -> None:
        """Count a channel's sentinels; store the range of its other values, and their mean."""
        marks, counts = is_sentinel(values), self._counts[name]
        counts += (values[marks][:, None] == SENTINELS).sum(axis=0)
        others = values[~marks]
        if not len(others):
            return

        self._zeros[name].add(others)
        least, most = self._ranges.get(name, (np.inf, -np.inf))
        self._ranges[name] = min(least, float(others.min())), max(most, float(others.max()))

        # A mean near 0 says nothing about the unit of a recording.
        mean, deviation = float(others.mean(dtype=np.float64)), float(others.std(dtype=np.float64))
        if mean > _NEAR_ZERO * deviation:
            self._means[name].append((subject, mean))


@dataclass
class _Zeros:
    """The number of a channel's values and zeros, and sum and least of its other values."""

    number: int = 0
    zeros: int = 0
    total: float = 0.0
    least: float = np.inf

    def add(self, values: Values) -> None:
        """Count observed values."""
        others = values[values != 0]
        self.number += len(values)
        self.zeros += len(values) - len(others)
        self.total += float(others.sum(dtype=np.float64))
        self.least = min(self.least, float(others.min(initial=np.inf)))

    @property
    def are_apart(self) -> bool:
        """Return whether there are many zeros, and all other values are positive and far from 0."""
        others = self.number - self.zeros
        if not others or self.zeros <= _ZEROS * self.number:
            return False
        return self.least > _APART_FROM_ZERO * self.total / others > 0


def told(statistics: Mapping[str, Any], window_hours: float, window: str) -> list[str]:
    """Return a sentence for each doubt in the statistics.

    `window` says in words how long a window is, by its setting.
    """
    return [
        *_of_subjects(statistics),
        *_of_channels(statistics),
        *_of_absent(statistics.get(ABSENT, {})),
        *_of_time(statistics, window_hours, window),
    ]


def _of_subjects(statistics: Mapping[str, Any]) -> Iterable[str]:
    if gaps := statistics.get("gaps", 0.0):
        yield (
            f"{_part(gaps)} have a recording of which more than half are gaps; "
            "look whether all was read"
        )
    if flat := statistics.get("flat", 0.0):
        yield (
            f"{_part(flat)} have a recording in which no value differs from another; "
            "drop it, unless nothing moved"
        )


def _of_channels(statistics: Mapping[str, Any]) -> Iterable[str]:
    # Values that stand for a gap.
    if marked := statistics.get("marked"):
        names = ", ".join(map(visible, marked))
        yield f"channel {names} has values as -1, -999 or 9999, far from all others; {_REMEDY}"
    if zeros := statistics.get("zeros"):
        names = ", ".join(map(visible, zeros))
        yield f"channel {names} has zeros far from all other values; {_REMEDY}"

    # Names, and units.
    for group in spelled_alike(statistics.get("alike", [])):
        names = " and ".join(map(visible, group))
        yield (
            f"channels {names} differ in case or spaces alone; give them one name, if they are one"
        )
    for name, factor in statistics.get(APART, {}).items():
        yield (
            f"channel {visible(name)}: the means of its recordings lie in two groups, "
            f"{factor:,.0f} times apart; look whether all are in one unit"
        )


def _of_absent(absent: Mapping[str, float]) -> Iterable[str]:
    worst = sorted(absent, key=lambda name: -absent[name])
    for name in worst[:_NAMED]:
        yield f"channel {visible(name)}: {_part(absent[name])} have no value of it"
    if more := worst[_NAMED:]:
        yield (
            f"{len(more)} more channels: "
            "more than a tenth of the training subjects have no value of each"
        )


def _of_time(statistics: Mapping[str, Any], window_hours: float, window: str) -> Iterable[str]:
    # An empty list says that the rates differ, by recordings of too few subjects to name them.
    rates, hours = statistics.get(RATES), statistics.get(HOURS)
    if rates:
        yield (
            f"recordings have from {rates[0]:g} to {rates[1]:g} samples a second; "
            "look whether each rate is right"
        )
    elif rates is not None:
        yield (
            f"the rates of recordings differ by a factor of {FAR:g} or more; "
            "look whether each rate is right"
        )

    if hours is not None and _SHORT * hours < window_hours:
        yield (
            f"recordings last {hours:g} h in the middle, while {window}; "
            "look whether their rate is right"
        )


def _part(share: float) -> str:
    """Return a rough share of the training subjects in words; a share of 1 may leave a few out."""
    if share == 1:
        return "(nearly) all training subjects"
    return f"{100 * share:.0f} % of the training subjects"


def _rounded(number: float, digits: int) -> float:
    """Return a number by its first digits, so that it describes no single recording."""
    return float(f"{number:.{digits}g}")
