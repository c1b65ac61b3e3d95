"""Where batches take pieces from, by the numbers of items: shards on disk, memory, or the rows of the index."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor

from clintune.cohort.index import Seen
from clintune.cohort.samples import Samples
from clintune.cohort.shards import CODE, NUMBER
from clintune.contracts import Extent
from clintune.core.arrays import spans
from clintune.modalities.base import Table
from clintune.model.cuts import Beyond, Cuts
from clintune.model.sealed import read_about


class Gathered(NamedTuple):
    """Pieces laid flat: `tensors` each [P, ...], `hours` [P], and which of the items asked for each is of [P]."""

    tensors: dict[str, Tensor]
    hours: Tensor
    item: NDArray[np.int64]


class Known(NamedTuple):
    """Pieces that are there already: where those of an item, by number and view, are in `blocks`.

    A place is block, start in it and length; `extents` are those of the items by number.
    """

    places: Mapping[tuple[int, int], tuple[int, int, int]] = {}
    blocks: Sequence[dict[str, Tensor]] = ()
    extents: Mapping[int, Extent] = {}


class Places(NamedTuple):
    """Where the pieces of items are: block, start in it and length, each [I]."""

    block: NDArray[np.int64]
    start: NDArray[np.int64]
    length: NDArray[np.int64]


PLACES = ("shard", "start", "length")
CUTS = ("cut_number", "cut_hours", "begin", "end")
LEFT_OUT = "left_out"
"""What a table of addresses holds."""
_BITS = 40
"""Of the start of pieces in a block."""


class PieceSource(Protocol):
    """The pieces of one modality by item and view; cheap to pickle."""

    def select(self, seen: Seen) -> Seen:
        """Return those of the items that a sample reads."""

    def lengths(self, number: NDArray[np.int64], view: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return how many pieces items have [I]; -1 for one never prepared."""

    def gather(self, seen: Seen, view: NDArray[np.int64], kept: NDArray[np.int64]) -> Gathered:
        """Return the `kept` [I] newest pieces of each item in order; of pieces of one time the first ones."""

    def blank(self, number: int) -> dict[str, Tensor]:
        """Return so many pieces of zeros, each tensor [P, ...]."""


class _Blocks(ABC):
    """Pieces laid flat in blocks of tensors, each with `hours` among them, of items and of their parts by `cuts`."""

    cuts: Cuts

    @abstractmethod
    def _places(self, number: NDArray[np.int64], view: NDArray[np.int64]) -> Places:
        """Return block, start and length [I] of items; the length of one never prepared is -1."""

    @abstractmethod
    def _tensors(self, block: int) -> dict[str, Tensor]:
        """Return the tensors of a block."""

    @property
    @abstractmethod
    def _last_block(self) -> int:
        """Return the number of the last block."""

    def select(self, seen: Seen) -> Seen:
        """Return all items, or the parts of them that a sample sees."""
        return self.cuts.select(seen)

    def lengths(self, number: NDArray[np.int64], view: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return how many pieces items have [I]; -1 for one never prepared, 0 for one that cannot be read."""
        return self._places(number, view).length

    def gather(self, seen: Seen, view: NDArray[np.int64], kept: NDArray[np.int64]) -> Gathered:
        """Return the `kept` [I] newest pieces of each item in order; of pieces of one time the first ones."""
        place = self._places(seen.number, view)
        piece, item = spans(place.start, place.length)
        block = place.block[item]
        parts = {number: np.flatnonzero(block == number) for number in np.unique(block).tolist()}
        hours = self._take("hours", parts, piece) + torch.from_numpy(seen.hours.astype(np.float32)[item])
        hours.clamp_(min=0)  # below 0 by rounding alone, in a file that goes on after its row
        if (kept < place.length).any():
            chosen = _newest(hours.numpy(), item, kept)
            piece, item, hours = piece[chosen], item[chosen], hours[torch.from_numpy(chosen)]
            parts = {number: np.flatnonzero(block[chosen] == number) for number in parts}
        names = [name for name in self._tensors(next(iter(parts))) if name != "hours"]
        return Gathered({name: self._take(name, parts, piece) for name in names}, hours, item)

    def blank(self, number: int) -> dict[str, Tensor]:
        """Return so many pieces of zeros, each tensor [P, ...]."""
        known = self._tensors(self._last_block)
        return {name: tensor.new_zeros(number, *tensor.shape[1:]) for name, tensor in known.items() if name != "hours"}

    def _take(self, name: str, parts: dict[int, NDArray[np.int64]], piece: NDArray[np.int64]) -> Tensor:
        """Return a tensor's pieces [P, ...] of several blocks; ragged trailing axes are padded with zeros."""
        sources = {number: self._tensors(number)[name] for number in parts}
        if len(sources) == 1:
            (only,) = sources.values()
            return only[torch.from_numpy(piece)]
        shape = [max(sizes) for sizes in zip(*(tensor.shape[1:] for tensor in sources.values()), strict=True)]
        taken = next(iter(sources.values())).new_zeros(len(piece), *shape)
        for number, mine in parts.items():
            found = sources[number][torch.from_numpy(piece[mine])]
            region = taken[(slice(None), *(slice(size) for size in found.shape[1:]))]
            region[torch.from_numpy(mine)] = found
        return taken


class StoredPieces(_Blocks):
    """Pieces in memory-mapped shards, found by a table of addresses in a file `table`.

    The table holds, by number and view [I, V], `shard`, `start` and `length`, -1 for an item never prepared: of all
    items, then of the parts that `cuts` names; and `left_out` [I] of both.
    """

    def __init__(self, table: Path) -> None:
        self.table = table
        about, arrays = read_about(table), {name: part.numpy() for name, part in load_file(table).items()}
        self.shards = [table.parents[1] / name for name in about["shards"]]
        self.errors: dict[str, str] = about["errors"]
        """What is wrong with each unreadable item, by `Item.where`."""
        self.cuts = Cuts(*(arrays[name] for name in CUTS))
        self._table = Places(*(arrays[name] for name in PLACES))
        self._left_out = arrays[LEFT_OUT]
        self._open: dict[int, dict[str, Tensor]] = {}

    def __reduce__(self) -> tuple[Callable[[Path], "StoredPieces"], tuple[Path]]:
        return StoredPieces, (self.table,)

    def left_out(self, number: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return how many pieces items have beyond those that any sample reads [I]."""
        return self._left_out[number].astype(np.int64)

    def content(self, number: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return what is one for items of equal content [I]: the place of their pieces; -1 without pieces."""
        place = self._places(number, np.zeros_like(number))
        return np.where(place.length > 0, (place.block << _BITS) + place.start, -1)

    def beyond(self, seen: Seen) -> Beyond:
        """Return how many hours items go on after the prediction times that see them, and how many they have [I]."""
        return self.cuts.beyond(seen)

    def used_shards(self) -> list[Path]:
        """Return the shards that hold some of the pieces."""
        used = np.unique(self._table.block[self._table.length > 0])
        return [self.shards[number] for number in used.tolist()]

    def _places(self, number: NDArray[np.int64], view: NDArray[np.int64]) -> Places:
        return Places(*(column[number, view].astype(np.int64) for column in self._table))

    def _tensors(self, block: int) -> dict[str, Tensor]:
        if block not in self._open:
            self._open[block] = read_block(self.shards[block])
        return self._open[block]

    @property
    def _last_block(self) -> int:
        return int(self._table.block.max())


class HeldPieces(_Blocks):
    """Pieces in memory of the items `numbers` [I], ascending; `place` [I, V, 3] holds block, start and length.

    Behind the items stand their parts, and one place for what was never prepared.
    """

    def __init__(
        self, numbers: NDArray[np.int64], place: NDArray[np.int64], blocks: Sequence[dict[str, Tensor]], cuts: Cuts
    ) -> None:
        self.cuts = cuts
        self._numbers = numbers
        self._place = place
        self._held = blocks

    def _places(self, number: NDArray[np.int64], view: NDArray[np.int64]) -> Places:
        return Places(*self._place[np.searchsorted(self._numbers, number), view].T)

    def _tensors(self, block: int) -> dict[str, Tensor]:
        return self._held[block]

    @property
    def _last_block(self) -> int:
        return len(self._held) - 1


class TabledPieces:
    """Pieces that the rows of the index give by arithmetic, one a row; a sample reads the newest row of each code."""

    def __init__(self, samples: Samples, modality: str, table: Table) -> None:
        self.samples = samples
        self.modality = modality
        self.table = table

    def select(self, seen: Seen) -> Seen:
        """Return the newest item of each code of a sample, in order."""
        code = self.samples.column(self.modality, CODE, seen.number)
        pair = seen.owner * self._num_codes + code
        newest = len(pair) - 1 - np.unique(pair[::-1], return_index=True)[1]
        newest.sort()
        return seen.take(newest)

    def beyond(self, seen: Seen) -> Beyond:
        """Return no hours: a row is no file."""
        none = np.zeros(len(seen.number))
        return Beyond(none, none, none)

    def lengths(self, number: NDArray[np.int64], view: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return 1 for every item."""
        return np.ones(len(number), np.int64)

    def left_out(self, number: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return 0 for every item."""
        return np.zeros(len(number), np.int64)

    def gather(self, seen: Seen, view: NDArray[np.int64], kept: NDArray[np.int64]) -> Gathered:
        """Return the piece of each item."""
        code = self.samples.column(self.modality, CODE, seen.number)
        value = self.samples.column(self.modality, NUMBER, seen.number)
        tensors = self.table(code, value, seen.hours)
        return Gathered(tensors, torch.from_numpy(seen.hours.astype(np.float32)), np.arange(len(code)))

    def content(self, number: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return -1 for every item: a fact is no document of one subject's own."""
        return np.full(len(number), -1)

    def blank(self, number: int) -> dict[str, Tensor]:
        """Return so many pieces of zeros, each tensor [P, ...]."""
        tensors = self.table(np.zeros(number, np.int32), np.zeros(number), np.zeros(number))
        return {name: torch.zeros_like(tensor) for name, tensor in tensors.items()}

    @cached_property
    def _num_codes(self) -> int:
        return len(self.samples.codes())


def read_block(shard: Path) -> dict[str, Tensor]:
    """Return the tensors of a shard of the cache, memory-mapped."""
    return load_file(shard)


def _newest(hours: NDArray[np.float32], item: NDArray[np.int64], kept: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the places of the `kept` newest pieces of each item, ascending; `item` is ascending."""
    order = np.lexsort((hours, item))
    rank = np.arange(len(item)) - np.searchsorted(item, item, "left")
    places: NDArray[np.int64] = np.sort(order[rank < kept[item]])
    return places
