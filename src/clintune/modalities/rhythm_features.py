"""Nonparametric features of rest and activity: functions of a window or of its hourly means."""

import numpy as np
from numpy.typing import NDArray

from clintune.modalities.recording import Signal

Hours = NDArray[np.float64]

LAGS = (1, 5, 15, 30)
"""Lags of the autocorrelations in minutes."""


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
