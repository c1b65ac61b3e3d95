"""Statistics that modalities learned from training items, kept so that a warm start reads none."""

import os
from pathlib import Path
from typing import Any

from clintune import __version__, modalities
from clintune.cohort.samples import Items
from clintune.core.files import file_sha256, read_sealed, value_sha256, write_sealed
from clintune.core.locks import exclusive_lock
from clintune.features.cache_key import class_name, code_files
from clintune.features.columnar import TrainingRows
from clintune.features.item_keys import listed, stamped_media
from clintune.features.media import Stamp
from clintune.features.sealed import drop
from clintune.modalities.promises import check_statistics
from clintune.modalities.readers import ItemReader
from clintune.modalities.rows import AnyReader, RowReader

Statistics = dict[str, dict[str, Any]]
"""The result of a reader's `fit` by modality; JSON-able."""


def remembered_statistics(
    name: str, reader: AnyReader, items: Items | TrainingRows, cache: Path
) -> dict[str, Any]:
    """Return what the reader of modality `name` learns from training items, or training rows.

    The result comes from `cache` where the same was fitted before. One process fits, others wait.
    The key holds the class of the reader, its code and the arguments of its constructor, the items,
    and the stamps of their media files.
    """
    if learns_nothing(reader):
        return {}

    path = cache / "statistics" / f"{name}-{_key(reader, items)[:32]}.json"
    with exclusive_lock(path, f"the statistics of {name}"):
        statistics = read_sealed(path)
        if statistics is None:
            if path.exists():
                drop(path)
            fitted = _fit(reader, items)
            check_statistics(reader, fitted)
            write_sealed(path, fitted)
            statistics = read_sealed(path)
        os.utime(path)
    assert statistics is not None, "statistics can be read as they were written"
    return statistics


def learns_nothing(reader: AnyReader) -> bool:
    """Return whether a reader has no `fit` of its own."""
    return isinstance(reader, ItemReader) and type(reader).fit is ItemReader.fit


def _fit(reader: AnyReader, items: Items | TrainingRows) -> dict[str, Any]:
    if isinstance(reader, RowReader):
        assert isinstance(items, TrainingRows), "rows are read as columns"
        return reader.fit(items, items.codes)
    assert isinstance(items, Items), "items are read one by one"
    return reader.fit(items)


def _key(reader: AnyReader, items: Items | TrainingRows) -> str:
    # The code of a reader: the files of its class and bases, and all of `clintune.modalities`.
    own = Path(modalities.__file__).parent.rglob("*.py")
    files = {*code_files(reader).values(), *map(str, own)}

    # All that the statistics depend on.
    key = {
        "class": class_name(reader),
        "code": [__version__, *(file_sha256(Path(file)) for file in sorted(files))],
        "arguments": reader.arguments,
        "items": items.fingerprint(),
        "media": _media(reader, items),
    }
    return value_sha256(key)


def _media(reader: AnyReader, items: Items | TrainingRows) -> list[list[tuple[str, Stamp]]]:
    """Return the stamps of the items' media files; none of rows."""
    if isinstance(reader, ItemReader) and isinstance(items, Items):
        return listed(stamped_media(items, reader))
    return []
