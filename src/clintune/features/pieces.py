"""Sources of pieces for batches, by the numbers of items: shards on disk, or memory."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor

from clintune.cohort.arrays import spans
from clintune.cohort.index import VisibleItems
from clintune.contracts import Extent, PieceBatch
from clintune.features.cuts import Beyond, Cuts
from clintune.features.sealed import read_about


class Block(NamedTuple):
    """Pieces along P: `tensors` each [P, ...], or a frozen encoder's `encoded`; `hours` [P]."""

    tensors: dict[str, Tensor]
    hours: Tensor
    encoded: Tensor | None = None

    def to_tensors(self) -> dict[str, Tensor]:
        """Return all tensors by name, for a file; a modality's own names have a prefix."""
        own = {f"{_OWN}{name}": tensor for name, tensor in self.tensors.items()}
        encoded = {} if self.encoded is None else {"encoded": self.encoded}
        return own | {"hours": self.hours} | encoded

    @classmethod
    def of_tensors(cls, tensors: Mapping[str, Tensor]) -> "Block":
        """Return the block that `to_tensors` was called on."""
        own = {
            name.removeprefix(_OWN): tensor
            for name, tensor in tensors.items()
            if name.startswith(_OWN)
        }
        return cls(own, tensors["hours"], tensors.get("encoded"))


class Known(NamedTuple):
    """Pieces that exist already: `places` leads from item number and view to pieces in `blocks`.

    A place is block, start in it and length. `extents` holds the extent of each item by number.
    """

    places: Mapping[tuple[int, int], tuple[int, int, int]] = {}
    blocks: Sequence[Block] = ()
    extents: Mapping[int, Extent] = {}


class Places(NamedTuple):
    """Places of the pieces of items: block, start in it and length, each [I]."""

    block: NDArray[np.int64]
    start: NDArray[np.int64]
    length: NDArray[np.int64]


PLACES = ("shard", "start", "length")
CUTS = ("cut_number", "cut_hours", "begin", "end")
LEFT_OUT = "left_out"
"""Names of the columns of a table of addresses."""
_OWN = "tensors/"
_BITS = 40
"""Bits that hold the start of pieces in a block."""


class PieceSource(Protocol):
    """The pieces of one modality by item and view; cheap to pickle."""

    def select(self, seen: VisibleItems) -> VisibleItems:
        """Return the items that each sample reads."""

    def lengths(self, number: NDArray[np.int64], view: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the number of pieces of each item [I]; -1 for one never preprocessed."""

    def num_pieces(self, seen: VisibleItems, num_samples: int) -> NDArray[np.int64]:
        """Return how many pieces the items from `select` give each sample [N], in plain view."""

    def read(self, seen: VisibleItems, view: NDArray[np.int64], budget: int) -> PieceBatch | None:
        """Return the pieces of items from `select`: of the newest that fit each sample's budget.

        `view` [I] is the view of each item. Returns None where there is no piece.
        """

    def blank(self, number: int) -> PieceBatch:
        """Return a piece of zeros, at the prediction time, for each of `number` samples."""


class _Blocks(ABC):
    """Pieces in blocks, of items and of the parts of items that `cuts` names."""

    cuts: Cuts

    @abstractmethod
    def _places(self, number: NDArray[np.int64], view: NDArray[np.int64]) -> Places:
        """Return block, start and length [I] of items; the length of one not preprocessed is -1."""

    @abstractmethod
    def _block(self, number: int) -> Block:
        """Return a block."""

    @property
    @abstractmethod
    def _last_block(self) -> int:
        """Return the number of the last block."""

    def select(self, seen: VisibleItems) -> VisibleItems:
        """Return all items, or the parts of them that a sample sees."""
        return self.cuts.select(seen)

    def lengths(self, number: NDArray[np.int64], view: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the number of pieces of each item [I].

        -1 stands for an item that was never preprocessed, 0 for one that cannot be read.
        """
        return self._places(number, view).length

    def num_pieces(self, seen: VisibleItems, num_samples: int) -> NDArray[np.int64]:
        """Return how many pieces each sample has [N]; none of an item never preprocessed."""
        lengths = self.lengths(seen.number, np.zeros_like(seen.number)).clip(min=0)
        return np.bincount(seen.owner, lengths, minlength=num_samples).astype(np.int64)

    def read(self, seen: VisibleItems, view: NDArray[np.int64], budget: int) -> PieceBatch | None:
        """Return the pieces of each sample, oldest item first.

        Where the budget cuts pieces of the same time, the first ones stay.
        """
        lengths = self.lengths(seen.number, view)
        assert (lengths >= 0).all(), "a sample's item was never prepared"
        kept = within_budget(lengths, seen.owner, budget)
        chosen = np.flatnonzero(kept)
        return self._gather(seen.take(chosen), view[chosen], kept[chosen]) if len(chosen) else None

    def _gather(
        self, seen: VisibleItems, view: NDArray[np.int64], kept: NDArray[np.int64]
    ) -> PieceBatch:
        """Return the `kept` [I] newest pieces of each item, in order."""
        # Find each piece: its place in a block, and the block.
        place = self._places(seen.number, view)
        piece, item = spans(place.start, place.length)
        block = place.block[item]
        parts = {number: np.flatnonzero(block == number) for number in np.unique(block).tolist()}

        # A file that goes on after its row gives hours below 0 only by rounding.
        hours = self._take(lambda part: part.hours, parts, piece)
        hours = hours + torch.from_numpy(seen.hours.astype(np.float32)[item])
        hours.clamp_(min=0)

        # Keep the newest pieces where the budget cuts an item.
        if (kept < place.length).any():
            chosen = _newest(hours.numpy(), item, kept)
            piece, item, hours = piece[chosen], item[chosen], hours[torch.from_numpy(chosen)]
            parts = {number: np.flatnonzero(block[chosen] == number) for number in parts}

        # Read all tensors of the pieces.
        first = self._block(next(iter(parts)))
        tensors = {name: self._take(_named(name), parts, piece) for name in first.tensors}
        encoded = None if first.encoded is None else self._take(_encoded, parts, piece)
        return PieceBatch(
            tensors=tensors, hours=hours, owner=torch.from_numpy(seen.owner[item]), encoded=encoded
        )

    def blank(self, number: int) -> PieceBatch:
        """Return a piece of zeros, at the prediction time, for each of `number` samples."""
        known = self._block(self._last_block)
        tensors = {
            name: tensor.new_zeros(number, *tensor.shape[1:])
            for name, tensor in known.tensors.items()
        }
        encoded = known.encoded
        if encoded is not None:
            encoded = encoded.new_zeros(number, *encoded.shape[1:])
        return PieceBatch(
            tensors=tensors, hours=torch.zeros(number), owner=torch.arange(number), encoded=encoded
        )

    def _take(
        self,
        read: Callable[[Block], Tensor],
        parts: dict[int, NDArray[np.int64]],
        piece: NDArray[np.int64],
    ) -> Tensor:
        """Return pieces [P, ...] of one tensor from several blocks; ragged axes are zero-padded."""
        sources = {number: read(self._block(number)) for number in parts}
        if len(sources) == 1:
            (only,) = sources.values()
            return only[torch.from_numpy(piece)]

        # Copy the pieces of each block into a tensor as large as the largest.
        shapes = [tensor.shape[1:] for tensor in sources.values()]
        shape = [max(sizes) for sizes in zip(*shapes, strict=True)]
        taken = next(iter(sources.values())).new_zeros(len(piece), *shape)
        for number, mine in parts.items():
            found = sources[number][torch.from_numpy(piece[mine])]
            region = taken[(slice(None), *(slice(size) for size in found.shape[1:]))]
            region[torch.from_numpy(mine)] = found
        return taken


class StoredPieces(_Blocks):
    """Pieces in memory-mapped shards, found by the table of addresses in the file `table`.

    The table holds `shard`, `start` and `length` by number and view [I, V], and `left_out` [I]:
    first of all items, then of the parts that `cuts` names. -1 stands for an item that was never
    preprocessed.
    """

    def __init__(self, table: Path) -> None:
        self.table = table
        about = read_about(table)
        arrays = {name: part.numpy() for name, part in load_file(table).items()}
        self.shards = [table.parents[1] / name for name in about["shards"]]
        self.errors: dict[str, str] = about["errors"]
        """The error of each unreadable item, by `Item.where`."""
        self.cuts = Cuts(*(arrays[name] for name in CUTS))
        self._table = Places(*(arrays[name] for name in PLACES))
        self._left_out = arrays[LEFT_OUT]
        self._open: dict[int, Block] = {}

    def __reduce__(self) -> tuple[Callable[[Path], "StoredPieces"], tuple[Path]]:
        return StoredPieces, (self.table,)

    def left_out(self, number: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the number of pieces of each item that no sample reads [I]."""
        return self._left_out[number].astype(np.int64)

    def content(self, number: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return a number that items of equal content share [I]; -1 for an item without pieces.

        The number is the place of the pieces.
        """
        place = self._places(number, np.zeros_like(number))
        return np.where(place.length > 0, (place.block << _BITS) + place.start, -1)

    def beyond(self, seen: VisibleItems) -> Beyond:
        """Return how long items go on after the prediction times that see them [I]."""
        return self.cuts.beyond(seen)

    def used_shards(self) -> list[Path]:
        """Return the shards that hold some of the pieces."""
        used = np.unique(self._table.block[self._table.length > 0])
        return [self.shards[number] for number in used.tolist()]

    def _places(self, number: NDArray[np.int64], view: NDArray[np.int64]) -> Places:
        return Places(*(column[number, view].astype(np.int64) for column in self._table))

    def _block(self, number: int) -> Block:
        if number not in self._open:
            self._open[number] = read_block(self.shards[number])
        return self._open[number]

    @property
    def _last_block(self) -> int:
        return int(self._table.block.max())


class HeldPieces(_Blocks):
    """Pieces in memory of the items `numbers` [I], ascending.

    `place` [I, V, 3] holds block, start and length. The parts of items stand behind the items, and
    behind them one place for what was never preprocessed.
    """

    def __init__(
        self,
        numbers: NDArray[np.int64],
        place: NDArray[np.int64],
        blocks: Sequence[Block],
        cuts: Cuts,
    ) -> None:
        self.cuts = cuts
        self._numbers = numbers
        self._place = place
        self._held = blocks

    def _places(self, number: NDArray[np.int64], view: NDArray[np.int64]) -> Places:
        return Places(*self._place[np.searchsorted(self._numbers, number), view].T)

    def _block(self, number: int) -> Block:
        return self._held[number]

    @property
    def _last_block(self) -> int:
        return len(self._held) - 1


def read_block(shard: Path) -> Block:
    """Return a shard of the cache, memory-mapped."""
    return Block.of_tensors(load_file(shard))


def within_budget(
    lengths: NDArray[np.int64], owner: NDArray[np.int64], budget: int
) -> NDArray[np.int64]:
    """Return how many pieces of each item [I] fit the budget of their sample.

    The budget is spent on the newest items first. Items stand in the order of `owner`, oldest
    first.
    """
    total = np.cumsum(lengths)
    newer = total[np.searchsorted(owner, owner, "right") - 1] - total
    kept: NDArray[np.int64] = np.clip(budget - newer, 0, lengths)
    return kept


def _named(name: str) -> Callable[[Block], Tensor]:
    return lambda block: block.tensors[name]


def _encoded(block: Block) -> Tensor:
    assert block.encoded is not None, "blocks of one modality are encoded all or none"
    return block.encoded


def _newest(
    hours: NDArray[np.float32], item: NDArray[np.int64], kept: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return the places of the `kept` newest pieces of each item, ascending, as `item` is."""
    # Rank the pieces of each item by time, newest first.
    order = np.lexsort((hours, item))
    rank = np.arange(len(item)) - np.searchsorted(item, item, "left")
    places: NDArray[np.int64] = np.sort(order[rank < kept[item]])
    return places
