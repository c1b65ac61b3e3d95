"""Curves of follow-up: the share that had an event by each day, and the number still followed."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clintune.metrics.base import AnyFloats, Floats, divide

Flags = NDArray[np.bool_]
Days = Sequence[float] | AnyFloats

_ALL = 1 - 1e-12
"""Above this share everybody is hit: sums of weights that are not whole numbers are rounded."""


class Steps(NamedTuple):
    """A step function of time for each of R weightings."""

    days: Floats
    """Days on which it may step [U], increasing."""
    values: Floats
    """Values [R, U + 1]: first the one before `days[0]`, then the one from each day on."""

    def at(self, days: Days) -> Floats:
        """Return the values [R, M] on `days` [M]."""
        return self.values[:, np.searchsorted(self.days, days, side="right")]


def product_limit(time: Floats, hit: Flags, weights: Floats) -> Steps:
    """Estimate the share that is not yet hit under each row of `weights` [R, N]: Kaplan-Meier.

    `time` [N] is sorted. `hit` [N] marks events, or censorings to estimate the share that is still
    observed. At tied times all are at risk, those hit and those not.
    """
    days, at_risk = _at_risk(time, hit, weights)
    left = np.cumprod(1 - _share(weights[:, hit], time[hit], days, at_risk), axis=1)
    return Steps(days, np.concatenate([np.ones((len(weights), 1)), left], axis=1))


def incidence(time: Floats, event: AnyFloats, kind: int, weights: Floats) -> Steps:
    """Estimate the share with an event of `kind` under each row of `weights`: Aalen-Johansen.

    `time` [N] is sorted. `event` [N] is 0 where follow-up ended without an event. With one kind of
    event this is 1 minus Kaplan-Meier.
    """
    hit = event > 0
    days, at_risk = _at_risk(time, hit, weights)
    any_kind = _share(weights[:, hit], time[hit], days, at_risk)
    this_kind = _share(weights[:, hit] * (event[hit] == kind), time[hit], days, at_risk)

    # An event of this kind on a day needs freedom from all kinds until then.
    none, all_free = np.zeros((len(weights), 1)), np.ones((len(weights), 1))
    free = np.concatenate([all_free, np.cumprod(1 - any_kind, axis=1)], axis=1)[:, :-1]
    return Steps(days, np.concatenate([none, np.cumsum(free * this_kind, axis=1)], axis=1))


def _at_risk(time: Floats, hit: Flags, weights: Floats) -> tuple[Floats, Floats]:
    """Return the days [U] on which somebody is hit, and the weight [R, U] at risk on them."""
    days = np.unique(time[hit])
    followed = np.cumsum(weights[:, ::-1], axis=1)[:, ::-1]
    return days, followed[:, np.searchsorted(time, days)]


def _share(hits: Floats, time: Floats, days: Floats, at_risk: Floats) -> Floats:
    """Return the share [R, U] of the weight at risk that is hit on each day.

    `hits` are weights of those hit, at the times `time`.
    """
    if not len(days):
        return np.zeros_like(at_risk)
    daily = np.add.reduceat(hits, np.searchsorted(time, days), axis=1)
    share = np.divide(daily, at_risk, out=np.zeros_like(daily), where=at_risk > 0)
    share[share > _ALL] = 1.0
    return share


def kaplan_meier(time: AnyFloats, event: AnyFloats) -> tuple[Floats, Floats]:
    """Return days and the share that had no event by then (Kaplan and Meier, 1958).

    `time` and `event` are [N]; 0 is censored, any other number an event, and NaN is left out. The
    days are 0 and all distinct times; from each day to the next the share is constant. Events come
    before censorings of the same day.
    """
    ordered, kinds = _sorted(time, event)
    days = np.unique(np.r_[0.0, ordered])
    return days, product_limit(ordered, kinds > 0, np.ones((1, len(ordered)))).at(days)[0]


def aalen_johansen(time: AnyFloats, event: AnyFloats, kind: int) -> tuple[Floats, Floats]:
    """Return days and the share that had an event of `kind` by then (Aalen and Johansen, 1978).

    It works as `kaplan_meier`, but an event of another kind ends follow-up for good, as death does
    for relapse: it is not treated as a censoring. Tied times need no breaking.
    """
    ordered, kinds = _sorted(time, event)
    days = np.unique(np.r_[0.0, ordered])
    return days, incidence(ordered, kinds, kind, np.ones((1, len(ordered)))).at(days)[0]


def numbers_at_risk(time: AnyFloats, at: Days) -> NDArray[np.int64]:
    """Count how many of `time` [N] are still followed just before each of the days `at` [M]."""
    known = np.asarray(time, np.float64)
    ordered = np.sort(known[~np.isnan(known)])
    return len(ordered) - np.searchsorted(ordered, at, side="left").astype(np.int64)


def _sorted(time: AnyFloats, event: AnyFloats) -> tuple[Floats, Floats]:
    """Return the known times and events, sorted by time."""
    known = ~(np.isnan(time) | np.isnan(event))
    times, kinds = np.asarray(time[known], np.float64), np.asarray(event[known], np.float64)
    order = np.argsort(times, kind="stable")
    return times[order], kinds[order]


def incidence_at(predicted: AnyFloats, times: Days, at: Days) -> Floats:
    """Interpolate incidences [N, J] at the days `times` [J] to those [N, M] at the days `at` [M].

    The incidence is linear in between, from 0 on day 0; after the last of `times` it is constant.
    """
    left, fraction = _between(times, at)
    curves = _from_zero(predicted)
    return (1 - fraction) * curves[:, left] + fraction * curves[:, left + 1]


def own_incidence(predicted: AnyFloats, times: Days, own: Floats) -> Floats:
    """Interpolate the incidence [N] of each sample at its own day `own` [N].

    The arithmetic is that of `incidence_at`, so that equal curves give exactly equal values.
    """
    left, fraction = _between(times, own)
    curves, rows = _from_zero(predicted), np.arange(len(own))
    return (1 - fraction) * curves[rows, left] + fraction * curves[rows, left + 1]


def _between(times: Days, at: Days) -> tuple[NDArray[np.int64], Floats]:
    """Return the edge (0 is day 0) at or before each of `at`, and the fraction of the way on.

    The fraction is that of the way to the next edge, from 0 to 1.
    """
    edges, days = np.r_[0.0, np.asarray(times, np.float64)], np.asarray(at, np.float64)
    left = np.clip(np.searchsorted(edges, days, side="right") - 1, 0, len(edges) - 2)
    fraction = divide(days - edges[left], edges[left + 1] - edges[left])
    return left, np.clip(fraction, 0.0, 1.0)


def _from_zero(predicted: AnyFloats) -> Floats:
    curves = np.asarray(predicted, np.float64)
    return np.concatenate([np.zeros((len(curves), 1)), curves], axis=1)
