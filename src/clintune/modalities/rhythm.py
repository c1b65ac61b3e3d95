"""Rest and activity rhythm: nonparametric features of recordings of days as tokens."""

from collections.abc import Mapping, Sequence
from itertools import combinations, pairwise
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from clintune.core.disclosure import SMALLEST_SHOWN
from clintune.modalities.base import Modality
from clintune.modalities.recording_reader import Transform
from clintune.modalities.rhythm_features import daily_profile, hourly_means
from clintune.modalities.rhythm_reader import RhythmReader

__all__ = ["Rhythm", "daily_profile", "hourly_means"]

_CLIP = 5.0


class Rhythm(Modality):
    """Rest and activity features, as RhythmReader computes them, a token for each window.

    The training recordings standardise the features, and they are clipped to ±5 deviations. A token
    holds the features, then a mark of each that is 1 where it is known. An unknown feature is 0. A
    probe chooses among the groups of `features`. Nothing is learned.
    """

    reader: RhythmReader
    scaled: ClassVar[bool] = True

    def __init__(
        self,
        *,
        rate_hz: float = 1 / 60,
        days: int = 14,
        channels: list[str] | None = None,
        codes: list[str] | None = None,
        min_subjects: int = SMALLEST_SHOWN,
        transform: Transform = "log1p",
        features: Sequence[str] = ("profile", "rhythm", "level"),
        rest: Sequence[float] = (0.0,),
        max_pieces: int = 1,
    ) -> None:
        reader = RhythmReader(
            rate_hz=rate_hz,
            days=days,
            transform=transform,
            features=features,
            rest=rest,
            channels=channels,
            min_subjects=min_subjects,
            max_pieces=max_pieces,
            codes=codes,
        )
        super().__init__(reader, mode="frozen")

    def build(self, statistics: Mapping[str, Any]) -> None:
        """Open the reader; there are no weights."""
        self.reader.open(statistics)
        mean, std = self.reader.mean, self.reader.std
        self.register_buffer("centre", torch.tensor(mean), persistent=False)
        self.register_buffer("spread", torch.tensor(std), persistent=False)
        self.width = 2 * len(mean)

    def encode(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """Standardise to [P, 1, W]."""
        scaled = (tensors["features"] - self.get_buffer("centre")) / self.get_buffer("spread")
        known = scaled.isfinite().to(scaled.dtype)
        clipped = scaled.nan_to_num(0.0).clamp(-_CLIP, _CLIP)
        return torch.cat([clipped, known], dim=-1).unsqueeze(1)

    @property
    def probe_choices(self) -> list[list[int]]:
        """Return the columns of every choice of groups, all groups at one threshold of rest."""
        # The columns of each group. A block holds the features of a channel, or their marks.
        ends = np.cumsum([0, *self.reader.widths.values()])
        blocks = range(0, self.width, int(ends[-1]))
        columns: dict[str, list[int]] = {}
        for name, span in zip(self.reader.widths, pairwise(ends.tolist()), strict=True):
            columns[name] = [block + column for block in blocks for column in range(*span)]

        # Every choice once: one without rest is the same at each threshold.
        choices: dict[tuple[str, ...], list[int]] = {}
        for rest in self.reader.rest:
            groups = [self.reader.name_of(group, rest) for group in self.reader.features]
            for number in range(1, len(groups) + 1):
                for names in combinations(groups, number):
                    choices[names] = [column for name in names for column in columns[name]]
        return list(choices.values())
