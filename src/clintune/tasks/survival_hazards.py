"""Hazards of intervals: the training hazard of each, and how outputs move it.

Axes: K kinds of event, J intervals, B times about which an effect may differ. Outputs are
[N, K * (1 + B)].
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


class FollowUp(NamedTuple):
    """The follow-up of N samples, by interval.

    `place` is the interval in which each follow-up ended [N], `had_event` says whether an event
    ended it there [N]. `lived` is the share of each interval without an event [N, J]: 0 of the one
    that an event ended. A sample followed for longer than all intervals lived all of them,
    whatever came later.
    """

    place: Tensor
    had_event: Tensor
    lived: Tensor


@dataclass(frozen=True, kw_only=True)
class Hazards:
    """The ends of the intervals in days [J], and the logits of each kind of event in them [K, J].

    A logit compares a kind of event with no event.
    """

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
        """Return the hazards of labels [N, 2], rounded.

        Intervals end at `edges`, or hold about as many events each. There are fewer than
        `num_intervals` where an interval would have fewer than 11 events.
        """
        # Find the intervals.
        times = known[known[:, 1] > 0, 0]
        num = max(1, min(num_intervals, len(times) // SMALLEST_SHOWN))
        inner = np.quantile(times, np.arange(1, num) / num)
        ends = edges or rising([*inner, np.quantile(known[:, 0], LAST)])

        # Divide the events of each interval by the time lived in it.
        days, event = (torch.from_numpy(column) for column in known.T)
        followed = cls.flat(ends, num_kinds).follow_up(days, event)
        counts = []
        for kind in range(1, num_kinds + 1):
            places = followed.place[followed.had_event & (event == kind)]
            counts.append(torch.bincount(places, minlength=len(ends)))
        hazards = (torch.stack(counts) + 0.5) / (followed.lived.sum(dim=0) + 0.5)
        return cls(edges=ends, base=np.round(hazards.log().numpy(), 1).tolist())

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {"edges": self.edges, "base": self.base}

    @classmethod
    def from_json(cls, values: Any, num_kinds: int) -> Self:
        """Restore the result of `to_json`; ValueError for anything else."""
        if not isinstance(values, dict) or values.keys() != {"edges", "base"}:
            raise ValueError("does not hold edges and base alone")

        edges, base = values["edges"], values["base"]
        if not are_rising(edges):
            raise ValueError("holds edges that are no days above 0, or do not rise")
        if not isinstance(base, list) or not all(isinstance(row, list) for row in base):
            raise ValueError("holds a base that is no list of lists")

        numbers = [number for row in base for number in row]
        is_full = [len(row) for row in base] == [len(edges)] * num_kinds
        if not is_full or not all(map(is_finite, numbers)):
            raise ValueError("does not hold a number of base for each interval and kind of event")
        return cls(edges=list(map(float, edges)), base=[list(map(float, row)) for row in base])

    def follow_up(self, days: Tensor, event: Tensor) -> FollowUp:
        """Return the follow-up by interval of samples with these days [N] and events [N]."""
        edges = torch.tensor([0.0, *self.edges], dtype=days.dtype, device=days.device)
        place = torch.searchsorted(edges[1:], days.contiguous()).clamp(max=len(self.edges) - 1)
        had_event = (event > 0) & (days <= edges[-1])

        lived = ((days[:, None] - edges[:-1]) / (edges[1:] - edges[:-1])).clamp(0, 1)
        ended = lived.scatter(1, place[:, None], 0.0)
        return FollowUp(place, had_event, torch.where(had_event[:, None], ended, lived))

    def logs(self, outputs: Tensor) -> Tensor:
        """Return the log of the chance of no event and of each kind, by interval [N, 1 + K, J]."""
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

        # Within an interval an event is as likely at any time: the curve is straight there.
        between = incidence_at(np.eye(len(self.edges)), self.edges, days)
        return (at_edges @ torch.from_numpy(between).to(at_edges)).clamp(0, 1)

    def _times(self) -> Tensor:
        """Return the share of each interval that belongs to each time [B, J].

        The shares are hat functions over evenly spaced knots.
        """
        place = torch.linspace(0, NUM_TIMES - 1, len(self.edges), dtype=torch.float64)
        return (1 - (place - torch.arange(NUM_TIMES)[:, None]).abs()).clamp(min=0)
