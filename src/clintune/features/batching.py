"""From samples to batches: look up the items, keep the newest pieces within budget, gather them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from clintune.cohort.index import VisibleItems
from clintune.cohort.samples import Samples
from clintune.contracts import Batch, PieceBatch
from clintune.core.seeding import generator
from clintune.features.pieces import PieceSource
from clintune.modalities.base import Modality

_CHUNK = 4096


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchSpec:
    """The samples of one batch, and what the random choices for it depend on.

    `epoch` None means inference: view `view` of every item, and no dropout of modalities. In
    training the views and the dropped modalities are drawn from (seed, epoch, row). So they depend
    neither on the workers nor on the batch.
    """

    rows: Sequence[int]
    epoch: int | None = None
    seed: int = 0
    view: int = 0


class Batches(Dataset[Batch]):
    """A data set of batches, for a DataLoader whose sampler yields `BatchSpec`; cheap to pickle."""

    def __init__(
        self,
        samples: Samples,
        modalities: Mapping[str, Modality],
        sources: Mapping[str, PieceSource],
        modality_dropout: float = 0.0,
        zero_fill: bool = False,
    ) -> None:
        self.samples = samples
        self.sources = {name: sources[name] for name in modalities}
        self.budgets = {name: modality.reader.max_pieces for name, modality in modalities.items()}
        self.views = {name: modality.reader.views for name, modality in modalities.items()}
        self.modality_dropout = modality_dropout
        self.zero_fill = zero_fill

    def __getitem__(self, draw: BatchSpec) -> Batch:
        rows = np.asarray(draw.rows, np.int64)
        seen = {name: self.samples.seen(name, rows) for name in self.sources}
        kept = self._kept(seen, rows, draw)

        # Read the pieces of each modality that stays.
        pieces = {}
        for name, items in seen.items():
            part = self._pieces(name, items.take(kept[name][items.owner]), rows, draw)
            if self.zero_fill:
                part = self._filled(name, part, len(rows))
            if part is not None:
                pieces[name] = part

        targets = {
            task: torch.from_numpy(self.samples.targets(task)[rows]) for task in self.samples.tasks
        }
        return Batch(pieces=pieces, targets=targets, keys=self.samples.keys(rows))

    def _kept(
        self, seen: Mapping[str, VisibleItems], rows: NDArray[np.int64], draw: BatchSpec
    ) -> dict[str, NDArray[np.bool_]]:
        """Return which samples [N] keep each modality that they have; one always stays."""
        kept = {
            name: np.bincount(items.owner, minlength=len(rows)) > 0 for name, items in seen.items()
        }
        if draw.epoch is None or not self.modality_dropout:
            return kept

        for number, row in enumerate(rows.tolist()):
            present = [name for name in kept if kept[name][number]]
            if not present:
                continue

            chance = generator(draw.seed, "modality_dropout", draw.epoch, row)
            drawn = torch.rand(len(present), generator=chance).tolist()

            # Where all would be dropped, the one with the greatest draw stays.
            stays = present[drawn.index(max(drawn))]
            for name, u in zip(present, drawn, strict=True):
                kept[name][number] = u >= self.modality_dropout or (
                    name == stays and max(drawn) < self.modality_dropout
                )
        return kept

    def _view(self, name: str, rows: NDArray[np.int64], draw: BatchSpec) -> NDArray[np.int64]:
        """Return the view of each sample [N]."""
        views = self.views[name]
        if draw.epoch is None or views == 1:
            return np.full(len(rows), min(draw.view, views - 1), np.int64)
        chances = (generator(draw.seed, "view", name, draw.epoch, row) for row in rows.tolist())
        return np.array(
            [int(torch.randint(views, (), generator=chance)) for chance in chances], np.int64
        )

    def _pieces(
        self, name: str, seen: VisibleItems, rows: NDArray[np.int64], draw: BatchSpec
    ) -> PieceBatch | None:
        """Return the pieces of the newest items that fit the budget of each sample."""
        seen = self.sources[name].select(seen)
        view = self._view(name, rows, draw)[seen.owner]
        return self.sources[name].read(seen, view, self.budgets[name])

    def _filled(self, name: str, pieces: PieceBatch | None, num_samples: int) -> PieceBatch:
        """Add a piece of zeros, at the prediction time, for each sample that has no piece."""
        # Make a blank piece for each absent sample.
        present = np.empty(0, np.int64) if pieces is None else pieces.owner.numpy()
        absent = torch.from_numpy(np.setdiff1d(np.arange(num_samples), present))
        blank = replace(self.sources[name].blank(len(absent)), owner=absent)
        if pieces is None:
            return blank

        # Append them to the pieces.
        parts = (pieces.encoded, blank.encoded)
        encoded = [part for part in parts if part is not None]
        return PieceBatch(
            tensors={
                key: torch.cat([value, blank.tensors[key]]) for key, value in pieces.tensors.items()
            },
            hours=torch.cat([pieces.hours, blank.hours]),
            owner=torch.cat([pieces.owner, blank.owner]),
            encoded=torch.cat(encoded) if encoded else None,
        )


def num_tokens(
    samples: Samples, modalities: Mapping[str, Modality], sources: Mapping[str, PieceSource]
) -> NDArray[np.int64]:
    """Return the number of tokens of each sample [N]: of its pieces within budget, in plain view.

    Items that were never preprocessed count as none: the caches were not filled for their samples.
    """
    tokens = np.zeros(len(samples), np.int64)
    for name, modality in modalities.items():
        for start in range(0, len(samples), _CHUNK):
            rows = np.arange(start, min(start + _CHUNK, len(samples)))
            seen = sources[name].select(samples.seen(name, rows))
            tokens[rows] += modality.num_tokens(sources[name].num_pieces(seen, len(rows)))
    return tokens


def sequential_batches(rows: NDArray[np.int64], batch_size: int, view: int = 0) -> list[BatchSpec]:
    """Return batches for inference that cover `rows` once, in order."""
    parts: Iterator[NDArray[np.int64]] = (
        rows[i : i + batch_size] for i in range(0, len(rows), batch_size)
    )
    return [BatchSpec(rows=part.tolist(), view=view) for part in parts]
