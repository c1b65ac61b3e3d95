"""Concordance of predicted risk and time to event, over pairs of samples and many weightings."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clintune.metrics.base import Floats, defined_mean, divide
from clintune.metrics.survival_curves import incidence_at, own_incidence
from clintune.metrics.survival_followed import Followed, Score

_CELLS = 2**20
"""Number of pairs that are compared at once: a few arrays of 8 MB, for any number of samples."""

Rows = slice | NDArray[np.int64]


class _Question(NamedTuple):
    """The risks that are compared: of the first sample of a pair, and of all others beside it."""

    kind: int
    until: float
    own: Floats
    """Risk [N] of each sample as the first of a pair."""
    others: Callable[[Rows, Floats], Floats]
    """Risks [M, B] (or [M, 1]) of M rows, on the B days of the first samples' events."""


class _Weights(NamedTuple):
    """Weights [R, N] of a pair's first and second sample."""

    first: Floats
    second: Floats


def antolini(until: float) -> Score:
    """Make the time-dependent concordance of Antolini, Boracchi and Biganzoli (2005).

    The first of a pair has an event at T <= `until`, the second is free of it for longer (or
    censored at T). The pair is concordant if, at T, the first had the greater incidence.
    """

    def score(followed: Followed) -> Floats:
        def of_kind(kind: int) -> Floats:
            curves, edges, weights = followed.incidence[kind - 1], followed.edges, followed.weights
            question = _Question(
                kind,
                until,
                own_incidence(curves, edges, followed.days),
                lambda rows, days: incidence_at(curves[rows], edges, days),
            )
            return _concordance(followed, question, *[_Weights(weights, weights)] * 2)

        return defined_mean([of_kind(kind) for kind in followed.all_kinds])

    return score


def uno(horizon: float, until: float) -> Score:
    """Make the concordance of Uno et al. (2011) of the risk at `horizon`, up to `until`.

    A pair whose first sample has its event at T counts 1 / G(T)^2, where G is the share not yet
    censored: so many pairs would have been seen if nobody had been censored. If the second sample
    had another kind of event at S <= T instead, the pair counts 1 / (G(T) G(S)) (Wolbers et al.,
    2014).
    """

    def score(followed: Followed) -> Floats:
        weights, once = followed.weights, followed.weights * followed.inverse
        later, rivals = _Weights(once * followed.inverse, weights), _Weights(once, once)

        def of_kind(kind: int) -> Floats:
            risk = followed.risk(kind, horizon)
            question = _Question(kind, until, risk, lambda rows, _: risk[rows, None])
            return _concordance(followed, question, later, rivals)

        return defined_mean([of_kind(kind) for kind in followed.all_kinds])

    return score


def _concordance(
    followed: Followed,
    question: _Question,
    later: _Weights,
    rivals: _Weights,
) -> Floats:
    """Return the share [R] of comparable pairs that are concordant, ties counting half.

    The second of a pair is followed for longer (weights `later`), or had another kind of event
    before and so will never have this one (weights `rivals`).
    """
    is_first = (followed.kinds == question.kind) & (followed.days <= question.until)
    events = np.flatnonzero(is_first)
    after = np.searchsorted(followed.days, followed.days[events], side="right")
    rival = (followed.kinds > 0) & (followed.kinds != question.kind)

    # Pairs whose second sample is followed for longer.
    following = np.cumsum(later.second[:, ::-1], axis=1)[:, ::-1]
    following = np.concatenate([following, np.zeros((len(following), 1))], axis=1)
    pairs = (later.first[:, events] * following[:, after]).sum(axis=1)
    balance = _balance(followed, question, events, after, later, None)

    # Pairs whose second sample had another kind of event.
    if rival.any():
        passed = np.cumsum(rivals.second * rival, axis=1)
        pairs += (rivals.first[:, events] * passed[:, after - 1]).sum(axis=1)
        balance += _balance(followed, question, events, after, rivals, np.flatnonzero(rival))
    return (1 + divide(balance, pairs)) / 2


def _balance(
    followed: Followed,
    question: _Question,
    events: NDArray[np.int64],
    after: NDArray[np.int64],
    weights: _Weights,
    rivals: NDArray[np.int64] | None,
) -> Floats:
    """Return the weight [R] of concordant pairs minus that of discordant ones.

    The first samples are `events`. The second samples are all from `after` on, or those of `rivals`
    before it.
    """
    numbers = np.arange(len(followed.days))
    balance = np.zeros(len(followed.weights))
    step = max(1, _CELLS // len(numbers))
    for start in range(0, len(events), step):
        first, border = events[start : start + step], after[start : start + step]
        rows: Rows = slice(border[0], None) if rivals is None else rivals[rivals < border[-1]]
        later = numbers[rows][:, None] >= border

        signs = np.sign(question.own[first] - question.others(rows, followed.days[first]))
        signs *= later if rivals is None else ~later
        balance += (weights.first[:, first] * (weights.second[:, rows] @ signs)).sum(axis=1)
    return balance
