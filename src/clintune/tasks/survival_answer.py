"""The answer of a survival task: incidences at some days, and what follows from them.

Axes: K kinds of event, D days of a curve. Incidences are [N, K * D], kinds outermost.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from clintune.core.numbers import is_finite, rounded
from clintune.metrics.survival import incidence_at
from clintune.metrics.survival_curves import own_incidence
from clintune.tasks.questions import BinaryView

Float32s = NDArray[np.float32]

WINDOW, LAST = (0.05, 0.9), 0.99
"""Quantiles of the times of follow-up: survival is scored in WINDOW, and predicted up to LAST."""
_HORIZONS = (0.25, 0.5, 0.75)
"""Quantiles of the times of events that are the horizons where none are given."""
_MOST_DAYS = 40
"""Greatest number of days of a curve."""
_LEAST = 1e-7
"""Least probability in a logarithm."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The days of curves, the horizons of risks, and the window that is scored."""

    days: list[float]
    horizons: list[float]
    window: tuple[float, float]

    @classmethod
    def of(
        cls, targets: Float32s, horizons: Sequence[float] | None, edges: Sequence[float] | None
    ) -> Self | None:
        """Return the answer that suits labels [N, 2], rounded.

        Returns None where events have fewer than two times.
        """
        known = targets[~np.isnan(targets).any(axis=1)].astype(np.float64)
        times = known[known[:, 1] > 0, 0]
        if len(np.unique(times)) < 2:
            return None

        # Most days are quantiles of the times of events: each step of a curve holds about as many.
        low, high = (rounded(day) for day in np.quantile(known[:, 0], WINDOW))
        inner = np.quantile(times, np.linspace(0, 1, _MOST_DAYS)[1:-1])
        days = [*inner, np.quantile(known[:, 0], LAST), high]
        return cls(
            days=rising([*days, *(edges or [])]),
            horizons=[float(day) for day in horizons or rising(np.quantile(times, _HORIZONS))],
            window=(low, max(low, high)),
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {"days": self.days, "horizons": self.horizons, "window": list(self.window)}

    @classmethod
    def from_json(cls, values: Any) -> Self:
        """Restore the result of `to_json`; ValueError for anything else."""
        if not isinstance(values, dict) or values.keys() != {"days", "horizons", "window"}:
            raise ValueError("does not hold days, horizons and window alone")

        days, horizons, window = values["days"], values["horizons"], values["window"]
        if not are_rising(days) or not are_rising(horizons):
            raise ValueError("holds days that are no numbers above 0, or do not rise")
        if not isinstance(window, list) or len(window) != 2 or not all(map(is_finite, window)):
            raise ValueError("holds a window that is none")
        if not 0 <= window[0] <= window[1]:
            raise ValueError("holds a window that ends before it begins")

        low, high = map(float, window)
        return cls(
            days=list(map(float, days)), horizons=list(map(float, horizons)), window=(low, high)
        )

    def views(self, kinds: Sequence[str]) -> list[BinaryView]:
        """Return whether each kind of event came by each horizon; names begin with `kinds`."""
        return [
            BinaryView(
                name=f"{kind}by {day:g} days",
                outcome=partial(_came, kind=number + 1, day=day),
                risk=partial(risk_by, kind=number, days=self.days, day=day),
            )
            for number, kind in enumerate(kinds)
            for day in self.horizons
        ]

    def log_likelihood(self, targets: Float32s, predicted: Float32s) -> Float32s:
        """Return the log-likelihood of each sample [N], NaN where it is unknown.

        An event counts by the rise of its curve around its day, a censoring by the chance of no
        event until then.
        """
        curves = predicted.reshape(len(predicted), -1, len(self.days)).astype(np.float64)
        curves = np.concatenate([np.zeros_like(curves[..., :1]), curves], axis=2)

        # Fill unknown labels, and find the day of the curve at or after each follow-up's end.
        known = ~np.isnan(targets).any(axis=1)
        day = np.where(known, targets[:, 0], 1.0)
        event = np.where(known, targets[:, 1], 0.0).astype(np.int64)
        place = np.minimum(np.searchsorted(self.days, day), len(self.days) - 1)
        rows = np.arange(len(day))

        # Events after the last day count as censorings.
        had_event = (event > 0) & (day <= self.days[-1])
        of_kind = curves[rows, np.maximum(event - 1, 0)]
        density = of_kind[rows, place + 1] - of_kind[rows, place]
        survival = 1 - own_incidence(curves[..., 1:].sum(axis=1), self.days, day)
        chance = np.where(had_event, density, survival)
        return np.where(known, np.log(np.maximum(chance, _LEAST)), np.nan).astype(np.float32)


def risk_by(predicted: Float32s, kind: int, days: Sequence[float], day: float) -> Float32s:
    """Return the risk [N] of an event of a kind (from 0) by a day, of incidences at `days`."""
    at_day = incidence_at(curves_of(predicted, kind, days), days, [day])
    risks: Float32s = at_day[:, 0].astype(np.float32)
    return risks


def curves_of(predicted: Float32s, kind: int, days: Sequence[float]) -> Float32s:
    """Return the incidences [N, D] of a kind of event (from 0)."""
    return predicted.reshape(len(predicted), -1, len(days))[:, kind]


def are_rising(days: Any) -> bool:
    """Return whether these are days above 0 that rise."""
    if not isinstance(days, list) or not days or not all(map(is_finite, days)):
        return False
    return days[0] > 0 and all(later > day for day, later in pairwise(days))


def rising(days: Sequence[float]) -> list[float]:
    """Return days rounded to two significant digits, each once, without those rounded to 0."""
    return sorted({rounded(float(day)) for day in days} - {0.0})


def _came(targets: Float32s, kind: int, day: float) -> Float32s:
    """Return whether an event of a kind came by a day [N].

    NaN stands for a follow-up that ended before without any event.
    """
    time, event = targets.T
    outcome = np.where(time <= day, (event == kind).astype(np.float32), np.float32(0.0))
    unknown = np.isnan(time) | ((time < day) & (event == 0))
    return np.where(unknown, np.nan, outcome).astype(np.float32)
