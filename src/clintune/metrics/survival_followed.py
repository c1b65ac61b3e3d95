"""The samples that a survival metric scores, in the form that its arithmetic reads."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
from numpy.typing import NDArray

from clintune.metrics.base import AnyFloats, Compute, Floats
from clintune.metrics.survival_curves import Steps, incidence_at, product_limit

_CELLS = 2**23
"""Number of weights scored at once: a few arrays of 64 MB, for any number of weightings."""


@dataclass(frozen=True, kw_only=True)
class Followed:
    """N samples with known follow-up, in the order of its end, under R weightings."""

    days: Floats
    """End of follow-up [N] in days, not decreasing. A censoring stands a hair after its day."""
    kinds: NDArray[np.int64]
    """How follow-up ended [N]: 0 censored, k with an event of kind k."""
    incidence: Floats
    """Predicted incidence [K, N, J] of each kind of event at the `edges`."""
    edges: Floats
    """Days [J], increasing."""
    weights: Floats
    """Weights of the samples [R, N]."""

    @property
    def all_kinds(self) -> range:
        """The kinds of event that are predicted, from 1 on."""
        return range(1, len(self.incidence) + 1)

    def risk(self, kind: int, day: float) -> Floats:
        """Return the predicted risk [N] of an event of `kind` by `day`."""
        return incidence_at(self.incidence[kind - 1], self.edges, [day])[:, 0]

    @cached_property
    def uncensored(self) -> Steps:
        """The share G(t) not censored by t: the Kaplan-Meier estimate of these samples."""
        return product_limit(self.days, self.kinds == 0, self.weights)

    @cached_property
    def inverse(self) -> Floats:
        """1 / G [R, N] on the own day of each sample; 0 where G is 0, where all weights are 0."""
        return reciprocal(self.uncensored.at(self.days))


Score = Callable[[Followed], Floats]
"""Samples to values [R]."""


def reciprocal(shares: Floats) -> Floats:
    """Return 1 / `shares`, and 0 where they are 0."""
    return np.divide(1.0, shares, out=np.zeros_like(shares), where=shares > 0)


def of_followed(score: Score, times: Sequence[float], num_events: int) -> Compute:
    """Return `score` as a function of targets [N, 2] (days, kind) and predictions [N, K * J].

    Censorings are moved to the next number after their day. So everywhere in the arithmetic events
    come before censorings of the same day, and a patient censored on a day is free of the event on
    it.
    """
    edges = np.asarray(times, np.float64)
    assert num_events >= 1
    assert (np.diff(edges, prepend=0.0) > 0).all()

    def compute(targets: Floats, predicted: AnyFloats, weights: Floats) -> Floats:
        known = np.flatnonzero(~np.isnan(targets).any(axis=1))
        if not len(known):
            return np.full(len(weights), np.nan)
        days, kinds = targets[known, 0], targets[known, 1].astype(np.int64)
        days = np.where(kinds == 0, np.nextafter(days, np.inf), days)

        # Sort by the end of follow-up.
        order = np.argsort(days, kind="stable")
        days, kinds, known = days[order], kinds[order], known[order]
        curves = np.asarray(predicted, np.float64)[known]
        curves = curves.reshape(len(known), num_events, len(edges)).swapaxes(0, 1)

        # Score some weightings at a time.
        step = max(1, _CELLS // len(known))
        parts = [weights[i : i + step][:, known] for i in range(0, len(weights), step)]
        followed = partial(Followed, days=days, kinds=kinds, incidence=curves, edges=edges)
        return np.concatenate([np.zeros(0), *(score(followed(weights=part)) for part in parts)])

    return compute
