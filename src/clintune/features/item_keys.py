"""Keys that identify the content of items: code, value, text, and the bytes of the media file."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from clintune.cohort.row_source import RowSource
from clintune.cohort.samples import Items
from clintune.contracts import Item
from clintune.core.files import value_sha256
from clintune.features.media import Stamp, remembered_sha256, stamps
from clintune.modalities.readers import ItemReader

Stamped = tuple[RowSource, dict[Path, Stamp]]
"""A cohort, and the stamps of media files by their path."""


def stamped_media(items: Items, reader: ItemReader) -> list[Stamped]:
    """Return the stamps of the items' media files by cohort; none where no files are read."""
    if reader.media_column is None:
        return []
    return [(index, stamps(paths, reader.files)) for index, paths in items.paths()]


def listed(stamped: Sequence[Stamped]) -> list[list[tuple[str, Stamp]]]:
    """Return stamps by cohort as plain values in a fixed order, as a part of a key."""
    plain = []
    for _, found in stamped:
        plain.append(sorted((str(path), signature) for path, signature in found.items()))
    return plain


def item_keys(
    items: Items, stamped: Sequence[Stamped], memory: Path, reader: ItemReader
) -> list[str]:
    """Return the hash of each item's content; the folder `memory` keeps the hashes of media."""
    content: dict[Path, str] = {}
    for index, found in stamped:
        remembered = memory / f"{index.name}-{_short(str(index.root))}.json"
        known = remembered_sha256(found.values(), remembered)
        content |= {
            path: known[signature] if signature else "" for path, signature in found.items()
        }

    return [item_key(item, content, timed=reader.timed) for item in items]


def item_key(item: Item, content: Mapping[Path, str], *, timed: bool = False) -> str:
    """Return the hash of an item's content; a media file counts by its bytes, not by its name.

    Where files are `timed`, the time of the row counts too: it is compared with that of the file.
    """
    media = (content.get(item.path) or str(item.path)) if item.path else None
    time = [item.time and item.time.isoformat()] if timed else []
    return value_sha256([item.code, item.value, item.text, media, *time])[:32]


def view_key(key: str, view: int) -> str:
    """Return the key of one view of an item or part."""
    return f"{key}-{view}"


def _short(text: str) -> str:
    return value_sha256(text)[:16]
