"""Read-only use of a cache: a job that scores patients leaves nothing of them on disk."""

from pathlib import Path

from clintune.cohort.samples import Items
from clintune.core.console import console
from clintune.features.cache import PieceCache
from clintune.features.inventory import Scanned, scan
from clintune.features.item_keys import item_keys, stamped_media, view_key
from clintune.features.pieces import Block, Known, read_block
from clintune.features.sealed import damaged
from clintune.storage.cache_folder import mark_used


class KnownPieces:
    """The pieces of a modality that a cache holds already; nothing is written there.

    The folder `memory` keeps the hashes of media files.
    """

    def __init__(self, cached: PieceCache, memory: Path) -> None:
        self._reader = cached.reader
        self._folder = cached.folder
        self._memory = memory
        self._found = Scanned([], {}, [])
        self._blocks: dict[int, Block] = {}
        if cached.folder.is_dir():
            mark_used(cached.folder)
            self._found = scan(cached.folder)

    def of(self, items: Items, views: int) -> Known:
        """Return the intact cached pieces of the first `views` views of some items."""
        if not self._found.places:
            return Known()

        # Find the place of each view that is there.
        keys = item_keys(items, stamped_media(items, self._reader), self._memory, self._reader)
        found = {
            (number, view): self._found.places[view_key(key, view)]
            for number, key in zip(items.numbers.tolist(), keys, strict=True)
            for view in range(views)
            if view_key(key, view) in self._found.places
        }

        # Open their shards, and forget what stands in a damaged one.
        self._open({place.shard for place in found.values()})
        found = {one: place for one, place in found.items() if place.shard in self._blocks}

        # Number the shards that are used from 0.
        shards = sorted({place.shard for place in found.values()})
        number_of = {shard: number for number, shard in enumerate(shards)}
        places = {
            one: (number_of[place.shard], place.start, place.length) for one, place in found.items()
        }
        return Known(
            places=places,
            blocks=[self._blocks[shard] for shard in shards],
            extents={number: place.extent for (number, _), place in found.items()},
        )

    def _open(self, shards: set[int]) -> None:
        """Open those shards that are not open yet; a damaged one is reported and left out."""
        paths = {
            shard: self._folder / self._found.shards[shard]
            for shard in sorted(shards - self._blocks.keys())
        }
        bad = damaged(paths.values())
        for path in bad:
            console.print(f"{path}: is not as it was written; what it held is made anew")
        self._blocks |= {
            shard: read_block(path) for shard, path in paths.items() if path not in bad
        }
