"""What a folder of cached pieces holds: its shards, and the place of each key in them."""

from pathlib import Path
from typing import NamedTuple

from clintune.contracts import Extent
from clintune.model.sealed import read_about


class Place(NamedTuple):
    """Shard, start and length of an item's pieces, and its extent."""

    shard: int
    start: int
    length: int
    extent: Extent


class Scanned(NamedTuple):
    """What a folder of shards holds: their names, the place of each key, and the names of those that tell nothing."""

    shards: list[str]
    places: dict[str, Place]
    unknown: list[str]

    def address(self, key: str) -> tuple[int, int, int]:
        """Return shard, start and length of a key; no piece for one that could not be made."""
        place = self.places.get(key)
        return (0, 0, 0) if place is None else (place.shard, place.start, place.length)


def scan(folder: Path) -> Scanned:
    """Return the names of the shards in a folder, the place of every key in them, and shards that cannot be read."""
    shards: list[str] = []
    unknown: list[str] = []
    places: dict[str, Place] = {}
    for path in sorted(folder.glob("*.safetensors")):
        about = read_about(path)
        if about is None:
            unknown.append(path.name)
            continue
        start = 0
        for key, length, extent in zip(about["keys"], about["lengths"], about["extents"], strict=True):
            places[key] = Place(len(shards), start, length, Extent(*extent))
            start += length
        shards.append(path.name)
    return Scanned(shards, places, unknown)
