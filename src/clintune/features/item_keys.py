"""What names the content of an item: its code, value and text, and the bytes of its media file."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from clintune.cohort.row_source import RowSource
from clintune.cohort.samples import Items
from clintune.contracts import Item
from clintune.core.files import value_sha256
from clintune.features.media import Stamp, remembered_sha256, stamps
from clintune.modalities.base import Modality

Stamped = tuple[RowSource, dict[Path, Stamp]]
"""A cohort, and the stamps of media files by their path."""


def stamped_media(items: Items, modality: Modality) -> list[Stamped]:
    """Return the stamps of the items' media files by cohort; nothing for a modality that reads no files."""
    if modality.media_column is None:
        return []
    return [(index, stamps(paths, modality.files)) for index, paths in items.paths()]


def listed(stamped: Sequence[Stamped]) -> list[list[tuple[str, Stamp]]]:
    """Return stamps by cohort as plain values in one order, for a key."""
    return [
        sorted((str(path), file_signature) for path, file_signature in found.items())
        for _, found in stamped
    ]


def item_keys(
    items: Items, stamped: Sequence[Stamped], memory: Path, modality: Modality
) -> list[str]:
    """Return the hash of each item's content; those of media files are remembered in the folder `memory`."""
    content: dict[Path, str] = {}
    for index, found in stamped:
        known = remembered_sha256(
            found.values(), memory / f"{index.name}-{_short(str(index.root))}.json"
        )
        content |= {
            path: known[file_signature] if file_signature else ""
            for path, file_signature in found.items()
        }
    return [item_key(item, content, timed=modality.timed) for item in items]


def item_key(item: Item, content: Mapping[Path, str], *, timed: bool = False) -> str:
    """Return the hash of an item's content; a media file counts by the hash of its bytes, not by its name.

    Where files are `timed`, the row's time counts too: it is held against theirs.
    """
    media = (content.get(item.path) or str(item.path)) if item.path else None
    time = [item.time and item.time.isoformat()] if timed else []
    return value_sha256([item.code, item.value, item.text, media, *time])[:32]


def view_key(key: str, view: int) -> str:
    """Return what names one view of an item or part."""
    return f"{key}-{view}"


def _short(text: str) -> str:
    return value_sha256(text)[:16]
