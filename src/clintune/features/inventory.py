"""What a folder of cached pieces holds: its shards, and the place of each key in them."""

from pathlib import Path
from typing import NamedTuple

from clintune.contracts import Extent
from clintune.features.sealed import read_about


class Place(NamedTuple):
    """Shard, start and length of an item's pieces, its extent, and how many pieces more it has."""

    shard: int
    start: int
    length: int
    extent: Extent
    left_out: int


class Scanned(NamedTuple):
    """What a folder of shards holds: their names, the place of each key, and the names of those that tell nothing."""

    shards: list[str]
    places: dict[str, Place]
    unknown: list[str]

    def address(self, key: str) -> tuple[int, int, int]:
        """Return shard, start and length of a key; no piece for one that could not be made."""
        place = self.places.get(key)
        return (0, 0, 0) if place is None else (place.shard, place.start, place.length)

    def left_out(self, key: str) -> int:
        """Return how many pieces the item of a key has beyond those that are there."""
        place = self.places.get(key)
        return 0 if place is None else place.left_out


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
        columns = (about[name] for name in ("keys", "lengths", "extents", "left_out"))
        for key, length, extent, left_out in zip(*columns, strict=True):
            places[key] = Place(len(shards), start, length, Extent(*extent), left_out)
            start += length
        shards.append(path.name)
    return Scanned(shards, places, unknown)
