"""Curves of follow-up: what share had an event by which day, and how many are still followed."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clintune.metrics.base import AnyFloats, Floats, divide

Flags = NDArray[np.bool_]
Days = Sequence[float] | AnyFloats

_ALL = 1 - 1e-12
"""From this share on everybody is hit: weights that are not whole numbers add up with rounding."""


class Steps(NamedTuple):
    """A step function of time for each of R weightings."""

    days: Floats
    """Where it may step [U], increasing."""
    values: Floats
    """Its values [R, U + 1]: first that before `days[0]`, then that from each of the days on."""

    def at(self, days: Days) -> Floats:
        """Return the values [R, M] on `days` [M]."""
        return self.values[:, np.searchsorted(self.days, days, side="right")]


def product_limit(time: Floats, hit: Flags, weights: Floats) -> Steps:
    """Estimate the share that is not yet hit under each row of `weights` [R, N]: Kaplan-Meier.

    `time` [N] is sorted, `hit` [N] says whom the hit ends: events, or censorings to estimate the
    share that is still observed. At tied times those hit and those not are all at risk.
    """
    days, at_risk = _at_risk(time, hit, weights)
    left = np.cumprod(1 - _share(weights[:, hit], time[hit], days, at_risk), axis=1)
    return Steps(days, np.concatenate([np.ones((len(weights), 1)), left], axis=1))


def incidence(time: Floats, event: AnyFloats, kind: int, weights: Floats) -> Steps:
    """Estimate the share with an event of `kind` under each row of `weights`: Aalen-Johansen.

    `time` [N] is sorted, `event` [N] holds 0 where follow-up ended without one. With one kind of
    event this is 1 minus Kaplan-Meier.
    """
    hit = event > 0
    days, at_risk = _at_risk(time, hit, weights)
    any_kind = _share(weights[:, hit], time[hit], days, at_risk)
    this_kind = _share(weights[:, hit] * (event[hit] == kind), time[hit], days, at_risk)

    none, all_free = np.zeros((len(weights), 1)), np.ones((len(weights), 1))
    free = np.concatenate([all_free, np.cumprod(1 - any_kind, axis=1)], axis=1)[:, :-1]
    return Steps(days, np.concatenate([none, np.cumsum(free * this_kind, axis=1)], axis=1))


def _at_risk(time: Floats, hit: Flags, weights: Floats) -> tuple[Floats, Floats]:
    """Return the days [U] on which somebody is hit, and the weight [R, U] followed until then."""
    days = np.unique(time[hit])
    followed = np.cumsum(weights[:, ::-1], axis=1)[:, ::-1]
    return days, followed[:, np.searchsorted(time, days)]


def _share(hits: Floats, time: Floats, days: Floats, at_risk: Floats) -> Floats:
    """Return which share [R, U] of the weight at risk the weights `hits` at `time` are, by day."""
    if not len(days):
        return np.zeros_like(at_risk)
    daily = np.add.reduceat(hits, np.searchsorted(time, days), axis=1)
    share = np.divide(daily, at_risk, out=np.zeros_like(daily), where=at_risk > 0)
    share[share > _ALL] = 1.0
    return share


def kaplan_meier(time: AnyFloats, event: AnyFloats) -> tuple[Floats, Floats]:
    """Return days and the share that had no event by then (Kaplan and Meier, 1958).

    `time` and `event` are [N]; 0 is censored, any other number an event, NaN left out. The days are
    0 and all distinct times; from each day to the next the share stays as it is. Events come before
    censorings of the same day.
    """
    ordered, kinds = _sorted(time, event)
    days = np.unique(np.r_[0.0, ordered])
    return days, product_limit(ordered, kinds > 0, np.ones((1, len(ordered)))).at(days)[0]


def aalen_johansen(time: AnyFloats, event: AnyFloats, kind: int) -> tuple[Floats, Floats]:
    """Return days and the share that had an event of `kind` by then (Aalen and Johansen, 1978).

    As `kaplan_meier`, but an event of another kind ends follow-up for good, as death does where
    relapse is asked for: it is not treated as a censoring. Tied times need no breaking.
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
    """Return both without what is unknown, in the order of time."""
    known = ~(np.isnan(time) | np.isnan(event))
    times, kinds = np.asarray(time[known], np.float64), np.asarray(event[known], np.float64)
    order = np.argsort(times, kind="stable")
    return times[order], kinds[order]


def incidence_at(predicted: AnyFloats, times: Days, at: Days) -> Floats:
    """Interpolate incidences [N, J] at the days `times` [J] to those [N, M] at the days `at` [M].

    Linear in between, from 0 on day 0; after the last of `times` it stays as it was there.
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
    """Return the edge (0 is day 0) at or before each of `at`, and how far it is to the next one."""
    edges, days = np.r_[0.0, np.asarray(times, np.float64)], np.asarray(at, np.float64)
    left = np.clip(np.searchsorted(edges, days, side="right") - 1, 0, len(edges) - 2)
    fraction = divide(days - edges[left], edges[left + 1] - edges[left])
    return left, np.clip(fraction, 0.0, 1.0)


def _from_zero(predicted: AnyFloats) -> Floats:
    curves = np.asarray(predicted, np.float64)
    return np.concatenate([np.zeros((len(curves), 1)), curves], axis=1)
