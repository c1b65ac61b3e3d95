"""Inventory of a folder of cached pieces: its shards, and the place of each key in them."""

from pathlib import Path
from typing import NamedTuple

from clintune.contracts import Extent
from clintune.features.sealed import read_about


class Place(NamedTuple):
    """Shard, start and length of an item's pieces, its extent, and how many are left out."""

    shard: int
    start: int
    length: int
    extent: Extent
    left_out: int


class Scanned(NamedTuple):
    """The names of the shards, the place of each key, and the names of unreadable shards."""

    shards: list[str]
    places: dict[str, Place]
    unknown: list[str]

    def address(self, key: str) -> tuple[int, int, int]:
        """Return shard, start and length of a key; length 0 where its pieces could not be made."""
        place = self.places.get(key)
        return (0, 0, 0) if place is None else (place.shard, place.start, place.length)

    def left_out(self, key: str) -> int:
        """Return how many pieces the item of a key has beyond the cached ones."""
        place = self.places.get(key)
        return 0 if place is None else place.left_out


def scan(folder: Path) -> Scanned:
    """Return the shards in a folder, the place of every key, and the shards that are unreadable."""
    shards: list[str] = []
    unknown: list[str] = []
    places: dict[str, Place] = {}
    for path in sorted(folder.glob("*.safetensors")):
        about = read_about(path)
        if about is None:
            unknown.append(path.name)
            continue

        # The pieces of the keys stand one after the other.
        start = 0
        columns = (about[name] for name in ("keys", "lengths", "extents", "left_out"))
        for key, length, extent, left_out in zip(*columns, strict=True):
            places[key] = Place(len(shards), start, length, Extent(*extent), left_out)
            start += length
        shards.append(path.name)

    return Scanned(shards, places, unknown)
