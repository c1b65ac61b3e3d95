"""Statistics that modalities learned from training items, kept so that a warm start reads none."""

import inspect
import os
from pathlib import Path
from typing import Any

from clintune import __version__, modalities
from clintune.cohort.samples import Items
from clintune.core.files import file_sha256, read_sealed, value_sha256, write_sealed
from clintune.core.locks import exclusive_lock
from clintune.features.columnar import TrainingRows
from clintune.features.item_keys import listed, stamped_media
from clintune.features.sealed import drop
from clintune.modalities.base import Modality
from clintune.modalities.rows import RowReader

Statistics = dict[str, dict[str, Any]]
"""The result of `Modality.fit` by modality; JSON-able."""


def remembered_statistics(
    name: str, modality: Modality, items: Items | TrainingRows, cache: Path
) -> dict[str, Any]:
    """Return what a modality learns from training items, or its reader from training rows.

    The result comes from `cache` where the same was fitted before. One process fits, others wait.
    The key holds the class of the modality, its code and the arguments of its constructor, the
    items, and the stamps of their media files.
    """
    if type(modality).fit is Modality.fit:
        return {}

    path = cache / "statistics" / f"{name}-{_key(modality, items)[:32]}.json"
    with exclusive_lock(path, f"the statistics of {name}"):
        statistics = read_sealed(path)
        if statistics is None:
            if path.exists():
                drop(path)
            write_sealed(path, _fit(modality, items))
            statistics = read_sealed(path)
        os.utime(path)
    assert statistics is not None, "statistics can be read as they were written"
    return statistics


def _fit(modality: Modality, items: Items | TrainingRows) -> dict[str, Any]:
    if isinstance(items, Items):
        return modality.fit(items)
    assert modality.rows is not None, "rows are fitted on by a reader of columns"
    return modality.rows.fit(items, items.codes)


def _key(modality: Modality, items: Items | TrainingRows) -> str:
    # The code of a modality: the files of its class and bases, and all of `clintune.modalities`.
    kind = type(modality)
    own = {inspect.getsourcefile(part) for part in kind.__mro__ if issubclass(part, Modality)}
    code = own | {str(path) for path in Path(modalities.__file__).parent.glob("*.py")}
    code_hashes = [file_sha256(Path(file)) for file in sorted(filter(None, code))]

    # All that the statistics depend on.
    key = {
        "class": f"{kind.__module__}.{kind.__qualname__}",
        "code": [__version__, *code_hashes],
        "settings": modality.settings(),
        "constructed": [_plain(part) for part in (modality, modality.rows) if part is not None],
        "items": items.fingerprint(),
        "media": listed(stamped_media(items, modality)) if isinstance(items, Items) else [],
    }
    return value_sha256(key)


def _plain(part: Modality | RowReader) -> dict[str, Any]:
    """Return the arguments that a modality, or its reader, was constructed with."""
    return {
        key: value for key, value in vars(part).items() if not key.startswith("_") and key != "rows"
    }
