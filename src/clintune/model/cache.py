"""Work done once: the pieces of each item, or a frozen encoder's tokens of them, on disk and memory-mapped.

One folder a key of encoder and preprocessing; in it safetensors shards that appear whole, so that a build which was
stopped goes on where it was. Items are known by the hash of their content, so runs, folds and cohorts share them;
a table of addresses for the items of each run leads to them by number.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track
from safetensors import safe_open
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import save_file
from torch import Tensor

from clintune.cohort.index import SampleIndex
from clintune.cohort.samples import Items
from clintune.contracts import Item, Pieces
from clintune.core.cache_folder import in_use
from clintune.core.console import console
from clintune.core.errors import DataError
from clintune.core.files import atomic_path, value_sha256, write_json
from clintune.core.locks import only_one
from clintune.modalities.base import Modality
from clintune.model import encode
from clintune.model.encode import Preparer, encoding, laid_flat, make_pieces
from clintune.model.media import Stamp, remembered_sha256, stamps
from clintune.model.pieces import Known, StoredPieces, read_block

_FORMAT = 3
_CPU = torch.device("cpu")

Place = tuple[int, int, int]
"""Shard, start and length of an item's pieces."""
Stamped = tuple[SampleIndex, dict[Path, Stamp]]
"""A cohort, and the stamps of media files by their path."""


class PieceCache:
    """The cached pieces of one modality under the statistics it was built with, as `make_pieces` makes them."""

    def __init__(
        self, name: str, modality: Modality, statistics: Mapping[str, Any], cache: Path, precision: str = "fp32"
    ) -> None:
        self.name = name
        self.modality = modality
        self.precision = precision
        key = {"format": _FORMAT, **encoding(modality, statistics, precision)}
        self.folder = cache / "pieces" / value_sha256(key)[:32]
        self.media = cache / "media"

    def fill(self, items: Items, device: torch.device = _CPU, workers: int = 0) -> StoredPieces:
        """Compute the pieces in every view of each item that is not there yet, and return all of them.

        `workers` processes read and prepare the items (0: this one); the frozen encoder runs on `device`. Of several
        processes that fill at once one does the work. Unreadable items have no pieces and are tried again next time.
        """
        with only_one(self.folder, f"the pieces of {self.name}") as waited:
            self._open_folder()
            stamped = stamped_media(items, self.modality)
            seen = [sorted((str(path), stamp) for path, stamp in found.items()) for _, found in stamped]
            key = value_sha256([items.fingerprint(), self.modality.views, seen])[:32]
            table = self.folder / "tables" / f"{key}.safetensors"
            pieces = _open_table(table)
            if pieces is not None and (waited or not pieces.errors):
                return pieces
            keys = item_keys(items, stamped, self.media)
            shards, places = self.scan()
            errors: dict[str, DataError] = {}
            if todo := self._missing(keys, places):
                errors = self._prepare(items, todo, device, workers)
                shards, places = self.scan()
            self._write_table(table, items, keys, shards, places, errors)
            return StoredPieces(table)

    def _open_folder(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        in_use(self.folder)
        about = self.folder / "about.json"
        if not about.exists():
            source = (
                self.modality.source.get("source", "no weights") if self.modality.cacheable else "before the encoder"
            )
            write_json(about, {"name": type(self.modality).__qualname__, "source": source})

    def _missing(self, keys: list[str], places: Mapping[str, Place]) -> dict[str, tuple[int, int]]:
        """Return the first (position, view) of each key of item and view that is not on disk."""
        todo: dict[str, tuple[int, int]] = {}
        for position, key in enumerate(keys):
            for view in range(self.modality.views):
                if f"{key}-{view}" not in places:
                    todo.setdefault(f"{key}-{view}", (position, view))
        return todo

    def _prepare(
        self, items: Items, todo: dict[str, tuple[int, int]], device: torch.device, workers: int
    ) -> dict[str, DataError]:
        """Write the shards that are missing; return what is wrong with items that cannot be read, by key."""
        num = min(workers, len(todo) // encode.WORTH_A_WORKER)
        views = [(int(items.numbers[position]), view) for position, view in todo.values()]
        shown = track(
            Preparer(items.samples, self.name, self.modality, num)(views),
            f"prepare {self.name}",
            total=len(todo),
            console=console,
            transient=True,
            refresh_per_second=2,
        )
        errors: dict[str, DataError] = {}
        for shard, failed in make_pieces(todo, shown, self.modality, self.precision, device):
            self._write(shard)
            errors |= failed
        return errors

    def _write(self, done: Mapping[str, Pieces]) -> None:
        pieces = list(done.values())
        if not pieces:
            return
        index = {"keys": json.dumps(list(done)), "lengths": json.dumps([len(part) for part in pieces])}
        path = self.folder / f"{value_sha256(list(done))[:32]}.safetensors"
        with atomic_path(path) as partial:
            save_file(
                {name: tensor.contiguous() for name, tensor in laid_flat(pieces).items()}, partial, metadata=index
            )

    def scan(self) -> tuple[list[str], dict[str, Place]]:
        """Return the names of the shards on disk and the place of every key in them."""
        shards = sorted(path.name for path in self.folder.glob("*.safetensors"))
        places: dict[str, Place] = {}
        for number, name in enumerate(shards):
            with safe_open(self.folder / name, "pt") as file:
                index = file.metadata()
            start = 0
            for key, length in zip(json.loads(index["keys"]), json.loads(index["lengths"]), strict=True):
                places[key] = (number, start, length)
                start += length
        return shards, places

    def _write_table(
        self,
        path: Path,
        items: Items,
        keys: list[str],
        shards: list[str],
        places: Mapping[str, Place],
        errors: Mapping[str, DataError],
    ) -> None:
        """Write where the pieces of each item number and view are, and what is wrong with unreadable items."""
        shape = (items.samples.num_rows(items.modality), self.modality.views)
        address = np.full((*shape, 3), -1, np.int64)
        found = [[places.get(f"{key}-{view}", (0, 0, 0)) for view in range(shape[1])] for key in keys]
        address[items.numbers] = np.array(found, np.int64).reshape(-1, shape[1], 3)
        shard, start, length = (np.ascontiguousarray(column) for column in np.moveaxis(address, -1, 0))
        failed = {key.rpartition("-")[0]: str(error) for key, error in errors.items()}
        reasons = {items[n].where: failed[key] for n, key in enumerate(keys) if key in failed}
        arrays: dict[str, NDArray[Any]] = {
            "shard": shard.astype(np.int32),
            "start": start,
            "length": length.astype(np.int32),
        }
        with atomic_path(path) as partial:
            save_arrays(arrays, partial, metadata={"shards": json.dumps(shards), "errors": json.dumps(reasons)})


class KnownPieces:
    """What a cache holds of the pieces of a modality, for whoever has the same items; nothing is written there.

    Hashes of media files are remembered in the folder `memory`.
    """

    def __init__(self, cached: PieceCache, memory: Path) -> None:
        self._modality = cached.modality
        self._folder = cached.folder
        self._memory = memory
        self._shards: list[str] = []
        self._places: dict[str, Place] = {}
        self._blocks: dict[int, dict[str, Tensor]] = {}
        if cached.folder.is_dir():
            in_use(cached.folder)
            self._shards, self._places = cached.scan()

    def of(self, items: Items, views: int) -> Known:
        """Return the pieces that are there of the first `views` of some items."""
        if not self._places:
            return Known()
        stamped = stamped_media(items, self._modality)
        found = {
            (number, view): self._places[f"{key}-{view}"]
            for number, key in zip(items.numbers.tolist(), item_keys(items, stamped, self._memory), strict=True)
            for view in range(views)
            if f"{key}-{view}" in self._places
        }
        shards = sorted({shard for shard, _, _ in found.values()})
        for shard in shards:
            self._blocks[shard] = self._blocks.get(shard) or read_block(self._folder / self._shards[shard])
        number_of = {shard: number for number, shard in enumerate(shards)}
        places = {one: (number_of[shard], start, length) for one, (shard, start, length) in found.items()}
        return Known(places, [self._blocks[shard] for shard in shards])


def stamped_media(items: Items, modality: Modality) -> list[Stamped]:
    """Return the stamps of the items' media files by cohort; nothing for a modality that reads no files."""
    return [(index, stamps(paths)) for index, paths in items.paths()] if modality.media_column else []


def item_keys(items: Items, stamped: Sequence[Stamped], memory: Path) -> list[str]:
    """Return the hash of each item's content; those of media files are remembered in the folder `memory`."""
    content: dict[Path, str] = {}
    for index, found in stamped:
        known = remembered_sha256(found.values(), memory / f"{index.name}-{_short(str(index.root))}.parquet")
        content |= {path: known[stamp] if stamp else "" for path, stamp in found.items()}
    return [item_key(item, content) for item in items]


def item_key(item: Item, content: Mapping[Path, str]) -> str:
    """Return the hash of an item's content; a media file counts by the hash of its bytes, not by its name."""
    media = (content.get(item.path) or str(item.path)) if item.path else None
    return value_sha256([item.code, item.value, item.text, media])[:32]


def _open_table(path: Path) -> StoredPieces | None:
    """Open a table, unless it is not there or has lost a shard."""
    if not path.exists():
        return None
    pieces = StoredPieces(path)
    return pieces if all(shard.exists() for shard in pieces.shards) else None


def _short(text: str) -> str:
    return value_sha256(text)[:16]
