"""Made-up wrist actigraphy in minutes: the worse a patient does, the more broken are the nights."""

from datetime import datetime
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

_DAY = 1440


def activity_counts(
    rng: np.random.Generator, severity: float, start: datetime, days: int
) -> NDArray[np.float32]:
    """Return counts a minute [days * 1440] from local time `start`, NaN where the watch was off.

    The standard normal `severity` shows in the share of the night that is spent awake, and in how
    often the person wakes. How active a person is by day, and when the night begins, is independent
    of it.
    """
    # Who is asleep or awake in which minute.
    minute = start.hour * 60 + start.minute + np.arange(days * _DAY)
    bed, rise = 22.75 + rng.normal(0, 0.6), 6.75 + rng.normal(0, 0.6)
    hour = minute / 60 % 24
    asleep = (hour > bed % 24) & (hour < rise) if bed >= 24 else (hour > bed) | (hour < rise)
    awake = ~asleep | _wakes(rng, NormalDist().cdf(severity), len(minute))

    # Activity is high by day, low when awake at night, and nearly 0 when asleep.
    hump = 0.6 + 0.4 * np.sin((hour - 8) / 24 * 2 * np.pi)
    vigour = rng.lognormal(5.2, 0.25)
    level = np.where(awake, np.where(asleep, 0.35, hump), 0.004) * vigour
    bursts = rng.gamma(0.7, 1 / 0.7, len(minute)) * _slow(rng, len(minute))
    counts = np.round(level * bursts).astype(np.float32)

    # The watch is off up to three times.
    for _ in range(int(rng.integers(0, 4))):
        off = int(rng.integers(0, len(counts)))
        counts[off : off + int(rng.integers(10, 90))] = np.nan
    return counts


def _wakes(rng: np.random.Generator, extent: float, length: int) -> NDArray[np.bool_]:
    """Return the minutes of waking at night: 2 to 50 % of it, in spells of about 8 minutes."""
    share, spell = 0.02 + 0.48 * extent, 8.0
    leave, enter = 1 / spell, share / (1 - share) / spell
    draws = rng.random(length)
    awake, state = np.empty(length, bool), False
    for minute, draw in enumerate(draws):
        state = draw >= leave if state else draw < enter
        awake[minute] = state
    return awake


def _slow(rng: np.random.Generator, length: int) -> NDArray[np.float64]:
    """Return a slowly varying factor around 1, for busy and idle half hours."""
    halves = rng.lognormal(-0.08, 0.4, length // 30 + 1)
    return np.repeat(halves, 30)[:length]
