"""From samples to batches: choose items, read their cached pieces, keep the newest within budget, lay them flat."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import Dataset

from clintune.cohort.samples import Samples
from clintune.contracts import Batch, Item, PieceBatch, Pieces, Sample
from clintune.core.seeding import generator
from clintune.modalities.base import Modality, collate_pieces
from clintune.model.cache import PieceCache


@dataclass(frozen=True, kw_only=True, slots=True)
class Draw:
    """The samples of one batch and what is random about it.

    `epoch` None is inference: view `view` of every item and no dropout of modalities. In training the views and the
    dropped modalities are drawn from (seed, epoch, row), so they depend neither on workers nor on the batch.
    """

    rows: Sequence[int]
    epoch: int | None = None
    seed: int = 0
    view: int = 0


class Batches(Dataset[Batch]):
    """The batch of any draw: give it to a DataLoader whose sampler yields draws."""

    def __init__(
        self,
        samples: Samples,
        modalities: Mapping[str, Modality],
        caches: Mapping[str, PieceCache],
        modality_dropout: float = 0.0,
    ) -> None:
        self.samples = samples
        self.modalities = modalities
        self.caches = caches
        self.modality_dropout = modality_dropout

    def __getitem__(self, draw: Draw) -> Batch:
        samples = [self.samples[int(row)] for row in draw.rows]
        kept = [self._kept(sample, int(row), draw) for sample, row in zip(samples, draw.rows, strict=True)]
        pieces = {}
        for name in self.modalities:
            owned = [
                (owner, part)
                for owner, (sample, row) in enumerate(zip(samples, draw.rows, strict=True))
                if name in kept[owner]
                for part in self._pieces(name, sample.items[name], self._view(name, int(row), draw))
            ]
            if owned:
                pieces[name] = _flat(owned)
        targets = {
            task: torch.from_numpy(np.stack([sample.targets[task] for sample in samples]))
            for task in samples[0].targets
        }
        return Batch(pieces=pieces, targets=targets, keys=[sample.key for sample in samples])

    def _kept(self, sample: Sample, row: int, draw: Draw) -> set[str]:
        """Return the modalities of a sample that are not dropped; one always stays."""
        present = [name for name in self.modalities if sample.items[name]]
        if draw.epoch is None or not self.modality_dropout or not present:
            return set(present)
        chance = generator(draw.seed, "modality_dropout", draw.epoch, row)
        drawn = torch.rand(len(present), generator=chance)
        kept = {name for name, u in zip(present, drawn.tolist(), strict=True) if u >= self.modality_dropout}
        return kept or {present[int(drawn.argmax())]}

    def _view(self, name: str, row: int, draw: Draw) -> int:
        views = self.modalities[name].views
        if draw.epoch is None:
            return min(draw.view, views - 1)
        if views == 1:
            return 0
        chance = generator(draw.seed, "view", name, draw.epoch, row)
        return int(torch.randint(views, (), generator=chance))

    def _pieces(self, name: str, items: list[Item], view: int) -> list[Pieces]:
        """Return a sample's pieces, oldest item first, of the newest items that fit the budget."""
        modality = self.modalities[name]
        budget = modality.max_pieces
        chosen: list[Pieces] = []
        for item in reversed(modality.select(items)):
            if budget <= 0:
                break
            cache = self.caches.get(name)
            pieces = modality.prepare(item, view) if cache is None else cache.read(item, view)
            if pieces is None or not len(pieces):
                continue
            if len(pieces) > budget:
                pieces = _newest(pieces, budget)
            budget -= len(pieces)
            chosen.append(pieces)
        return chosen[::-1]


def _newest(pieces: Pieces, budget: int) -> Pieces:
    """Keep the newest pieces; of pieces of one time (chunks of a note) the first ones."""
    kept = torch.argsort(pieces.hours, stable=True)[:budget].sort().values
    return Pieces(tensors={name: tensor[kept] for name, tensor in pieces.tensors.items()}, hours=pieces.hours[kept])


def _flat(owned: list[tuple[int, Pieces]]) -> PieceBatch:
    parts = [part for _, part in owned]
    return PieceBatch(
        tensors=collate_pieces(parts),
        hours=torch.cat([part.hours for part in parts]),
        owner=torch.tensor([owner for owner, part in owned for _ in range(len(part))]),
    )
