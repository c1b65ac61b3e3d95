"""Brier score, AUROC and calibration of predicted risks where follow-up ends at different times."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from clintune.metrics.base import Floats, defined_mean, divide
from clintune.metrics.survival_curves import incidence, incidence_at
from clintune.metrics.survival_followed import Followed, Score, reciprocal

IBS_DAYS = 101
GROUPS = 5


def integrated_brier(low: float, high: float) -> Score:
    """Make the Brier score of Graf et al. (1999), averaged over the days from `low` to `high`.

    On day t it is the mean of (F(t) - 1)^2 / G(T) of those with an event at T <= t and of
    F(t)^2 / G(t) of those free of it, where F is the predicted incidence and G the share not yet
    censored. With K kinds of event (Schoop et al., 2011) it is the mean over the kinds.
    """
    # Rounded, so that a whole day is exactly that day, not a hair before or after it.
    days = np.round(np.linspace(low, high, IBS_DAYS), 6)

    def score(followed: Followed) -> Floats:
        # Squared errors on each day, averaged over the kinds of event.
        errors = np.zeros((len(followed.days), IBS_DAYS))
        for kind in followed.all_kinds:
            risk = incidence_at(followed.incidence[kind - 1], followed.edges, days)
            had = (followed.kinds == kind)[:, None] & (followed.days[:, None] <= days)
            errors += (risk - had) ** 2 / len(followed.all_kinds)

        # Weight those with an event by 1 / G(T), those still free of it by 1 / G(t).
        ended = (followed.kinds > 0)[:, None] & (followed.days[:, None] <= days)
        going = followed.days[:, None] > days
        uncensored = followed.uncensored.at(days)
        total = (followed.weights * followed.inverse) @ (errors * ended)
        total += (followed.weights @ (errors * going)) * reciprocal(uncensored)

        daily = divide(total, followed.weights.sum(axis=1, keepdims=True))
        return _time_average(np.where(uncensored > 0, daily, np.nan))

    return score


def _time_average(daily: Floats) -> Floats:
    """Average values [R, M] on equally spaced days by the trapezoid rule.

    Only steps between two defined values count. The distance between days cancels out, so a window
    without width gives the value on its day.
    """
    middle = (daily[:, 1:] + daily[:, :-1]) / 2
    defined = ~np.isnan(middle)
    counts = defined.sum(axis=1).astype(np.float64)
    return divide(np.where(defined, middle, 0.0).sum(axis=1), counts)


def mean_auroc(horizons: Sequence[float]) -> Score:
    """Make the mean over `horizons` (and kinds of event) of the cumulative/dynamic AUROC."""

    def score(followed: Followed) -> Floats:
        each = [(kind, day) for kind in followed.all_kinds for day in horizons]
        return defined_mean([_auroc(followed, kind, day) for kind, day in each])

    return score


def _auroc(followed: Followed, kind: int, day: float) -> Floats:
    """Compare those with an event by `day` with all others (Uno et al., 2007; Hung and Chiang).

    Cases count 1 / G(T). Those followed for longer count 1 / G(day), and those with another kind
    of event by then, who will not have this one, 1 / G(T) (Blanche et al., 2013).
    """
    # Weight cases and others.
    ended, this = followed.days <= day, followed.kinds == kind
    uncensored = followed.uncensored.at([day])
    weighted = followed.weights * followed.inverse
    cases = weighted * (ended & this)
    others = weighted * (ended & ~this & (followed.kinds > 0))
    others += followed.weights * ~ended * reciprocal(uncensored)

    # Compare them at each distinct risk.
    starts, order = _tied(followed.risk(kind, day))
    cases = np.add.reduceat(cases[:, order], starts, axis=1)
    others = np.add.reduceat(others[:, order], starts, axis=1)
    below = np.cumsum(others, axis=1) - others / 2
    value = divide((cases * below).sum(axis=1), cases.sum(axis=1) * others.sum(axis=1))
    return np.where(uncensored[:, 0] > 0, value, np.nan)


def _tied(risk: Floats) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return where each distinct risk starts [U] in increasing order, and that order [N]."""
    order = np.argsort(risk, kind="stable")
    ordered = risk[order]
    return np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]]), order


def calibration_error(horizons: Sequence[float]) -> Score:
    """Make the mean over `horizons` (and kinds of event) of the gap of predicted and observed."""

    def score(followed: Followed) -> Floats:
        each = [(kind, day) for kind in followed.all_kinds for day in horizons]
        return defined_mean([_calibration(followed, kind, day) for kind, day in each])

    return score


def _calibration(followed: Followed, kind: int, day: float) -> Floats:
    """Return the mean absolute gap [R] of mean predicted and observed risk in groups of risk.

    Observed risk is the Aalen-Johansen estimate within the group. A group whose follow-up ends
    before `day` has none and is left out.
    """
    risk = followed.risk(kind, day)
    group = _groups(risk, followed.weights)
    so_far = np.where(followed.days <= day, followed.kinds, 0)

    gaps, sizes = [], []
    for number in range(GROUPS):
        weights = np.where(group == number, followed.weights, 0.0)
        size = weights.sum(axis=1)
        observed = incidence(followed.days, so_far, kind, weights).at([day])[:, 0]
        gap = np.abs(divide(weights @ risk, size) - observed)

        known = _followed_until(followed, weights, day) & (size > 0)
        gaps.append(np.where(known, gap * size, 0.0))
        sizes.append(np.where(known, size, 0.0))
    return divide(np.sum(gaps, axis=0), np.sum(sizes, axis=0))


def _groups(risk: Floats, weights: Floats) -> NDArray[np.int64]:
    """Return the group of risk [R, N] of each sample; groups weigh about the same, lowest first.

    Equal risks stay in one group, that of the middle of their ranks. So the order of samples makes
    no difference, and repeated samples equal weighted ones.
    """
    # Rank each distinct risk by the weight below it.
    starts, order = _tied(risk)
    tied = np.add.reduceat(weights[:, order], starts, axis=1)
    total = tied.sum(axis=1, keepdims=True)
    rank = divide(GROUPS * (np.cumsum(tied, axis=1) - tied / 2), total)

    # Find the distinct risk of each sample.
    number = np.zeros(len(order), np.int64)
    number[starts] = 1
    distinct = np.empty_like(number)
    distinct[order] = np.cumsum(number) - 1

    # Add a hair, so that a sum of weights that rounding left just below a border is not below it.
    group = np.clip(np.nan_to_num(rank) + 1e-9, 0, GROUPS - 1).astype(np.int64)
    return group[:, distinct]


def _followed_until(followed: Followed, weights: Floats, day: float) -> NDArray[np.bool_]:
    """Return the weightings [R] that know risk by `day`: somebody is followed, or all ended."""
    last = len(followed.days) - 1 - (weights[:, ::-1] > 0).argmax(axis=1)
    known: NDArray[np.bool_] = (followed.days[last] > day) | (followed.kinds[last] > 0)
    return known
