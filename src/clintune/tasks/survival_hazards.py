"""Hazards of intervals: what training gives each of them, and how outputs move it.

Axes: K kinds of event, J intervals, B times about which an effect may differ. Outputs are [N, K * (1 + B)].
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clintune.core.disclosure import SMALLEST_SHOWN
from clintune.core.numbers import is_finite
from clintune.metrics.survival import incidence_at
from clintune.tasks.survival_answer import LAST, are_rising, rising

NUM_TIMES = 4
"""B."""


class Seen(NamedTuple):
    """What was seen of N samples, by interval.

    `place` is the interval in which each follow-up ended [N], `had_event` whether an event ended it there [N]. `lived`
    is the share of each interval without an event [N, J]: 0 of the one that an event ended. Who was followed for longer
    than all intervals lived all of them, whatever came later.
    """

    place: Tensor
    had_event: Tensor
    lived: Tensor


@dataclass(frozen=True, kw_only=True)
class Hazards:
    """The days at which intervals end [J], and the logit of each kind of event against none in them [K, J]."""

    edges: list[float]
    base: list[list[float]]

    @classmethod
    def flat(cls, edges: Sequence[float], num_kinds: int) -> Self:
        """Return hazards of one half, for a task that has learnt nothing."""
        return cls(edges=list(edges), base=[[0.0] * len(edges) for _ in range(num_kinds)])

    @classmethod
    def of(
        cls,
        known: NDArray[np.float64],
        num_kinds: int,
        num_intervals: int,
        edges: list[float] | None,
    ) -> Self:
        """Return the hazards of labels [N, 2], rounded, in intervals that end at `edges` or hold like many events.

        Those are fewer than `num_intervals` where an interval would have fewer than 11 events.
        """
        times = known[known[:, 1] > 0, 0]
        num = max(1, min(num_intervals, len(times) // SMALLEST_SHOWN))
        inner = np.quantile(times, np.arange(1, num) / num)
        ends = edges or rising([*inner, np.quantile(known[:, 0], LAST)])

        days, event = (torch.from_numpy(column) for column in known.T)
        seen = cls.flat(ends, num_kinds).seen(days, event)
        counts = [
            torch.bincount(seen.place[seen.had_event & (event == kind)], minlength=len(ends))
            for kind in range(1, num_kinds + 1)
        ]
        hazards = (torch.stack(counts) + 0.5) / (seen.lived.sum(dim=0) + 0.5)
        return cls(edges=ends, base=np.round(hazards.log().numpy(), 1).tolist())

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {"edges": self.edges, "base": self.base}

    @classmethod
    def from_json(cls, values: Any, num_kinds: int) -> Self:
        """Restore what `to_json` returned; ValueError for anything else."""
        if not isinstance(values, dict) or values.keys() != {"edges", "base"}:
            raise ValueError("does not hold edges and base alone")
        edges, base = values["edges"], values["base"]
        if not are_rising(edges):
            raise ValueError("holds edges that are no days above 0, or do not rise")
        if not isinstance(base, list) or not all(isinstance(row, list) for row in base):
            raise ValueError("holds a base that is no list of lists")
        numbers = [number for row in base for number in row]
        if [len(row) for row in base] != [len(edges)] * num_kinds or not all(
            map(is_finite, numbers)
        ):
            raise ValueError("does not hold a number of base for each interval and kind of event")
        return cls(
            edges=[float(day) for day in edges], base=[list(map(float, row)) for row in base]
        )

    def seen(self, days: Tensor, event: Tensor) -> Seen:
        """Return what follow-up of so many days [N], which ended with these events [N], shows of the intervals."""
        edges = torch.tensor([0.0, *self.edges], dtype=days.dtype, device=days.device)
        place = torch.searchsorted(edges[1:], days.contiguous()).clamp(max=len(self.edges) - 1)
        had_event = (event > 0) & (days <= edges[-1])
        lived = ((days[:, None] - edges[:-1]) / (edges[1:] - edges[:-1])).clamp(0, 1)
        return Seen(
            place,
            had_event,
            torch.where(had_event[:, None], lived.scatter(1, place[:, None], 0.0), lived),
        )

    def logs(self, outputs: Tensor) -> Tensor:
        """Return the log of the chance of no event, and of each kind, in each interval [N, 1 + K, J]."""
        base = torch.tensor(self.base, dtype=outputs.dtype, device=outputs.device)
        effects = outputs.reshape(len(outputs), len(self.base), 1 + NUM_TIMES)
        moved = base + effects[..., :1] + effects[..., 1:] @ self._times().to(outputs)
        return torch.cat([torch.zeros_like(moved[:, :1]), moved], dim=1).log_softmax(dim=1)

    def incidence(self, outputs: Tensor, days: Sequence[float]) -> Tensor:
        """Return the cumulative incidence of each kind of event at some days [N, K, D]."""
        hazards = self.logs(outputs).exp()
        survival = hazards[:, 0].cumprod(dim=1)
        before = torch.cat([torch.ones_like(survival[:, :1]), survival[:, :-1]], dim=1)
        at_edges = (before[:, None] * hazards[:, 1:]).cumsum(dim=2)

        # Within an interval an event comes at any time alike: the curve is straight there.
        between = incidence_at(np.eye(len(self.edges)), self.edges, days)
        return (at_edges @ torch.from_numpy(between).to(at_edges)).clamp(0, 1)

    def _times(self) -> Tensor:
        """Return how much of each interval belongs to each of the times [B, J]: hats over evenly spaced knots."""
        place = torch.linspace(0, NUM_TIMES - 1, len(self.edges), dtype=torch.float64)
        return (1 - (place - torch.arange(NUM_TIMES)[:, None]).abs()).clamp(min=0)
