"""Held-out samples that lose some of their modalities, the same ones for every method."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clintune.cohort.row_source import RowSource, VisibleItems
from clintune.cohort.samples import Samples
from clintune.core.seeding import derive_seed


class Thinned(Samples):
    """Samples of which a share, drawn for each modality by itself, see nothing of that modality.

    Who loses it at a smaller share loses it at a larger one of the same seed.
    """

    def __init__(self, indexes: Sequence[RowSource], share: float, seed: int) -> None:
        super().__init__(indexes)
        self.share = share
        self.seed = seed

    def __reduce__(self) -> tuple[Callable[..., "Thinned"], tuple[Any, ...]]:
        return Thinned, (self.indexes, self.share, self.seed)

    def seen(self, modality: str, rows: NDArray[np.int64]) -> VisibleItems:
        """Return what the samples `rows` see, one after the other, static items first.

        `owner` of the result indexes `rows`.
        """
        seen = super().seen(modality, rows)
        return seen.take(self._kept(modality)[rows][seen.owner])

    def _kept(self, modality: str) -> NDArray[np.bool_]:
        draws = np.random.default_rng(derive_seed(self.seed, "missing", modality)).random(len(self))
        return draws >= self.share


def thinned(samples: Samples, share: float, seed: int) -> Samples:
    """Return the samples with a share of them missing each modality; unchanged for a share of 0."""
    return Thinned(samples.indexes, share, seed) if share else samples
