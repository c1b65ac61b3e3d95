"""What the modalities learned from training items, remembered so that a warm start reads none of them."""

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
"""What `Modality.fit` returned, by modality; JSON-able."""


def remembered_statistics(
    name: str, modality: Modality, items: Items | TrainingRows, cache: Path
) -> dict[str, Any]:
    """Return what a modality learns from training items, or its reader from training rows.

    It comes from `cache` where the same was fitted before; one process fits, others wait.

    The key holds the modality's class, its code and all it was constructed with, the items, and the stamps of their
    media files.
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
    kind = type(modality)
    own = {inspect.getsourcefile(part) for part in kind.__mro__ if issubclass(part, Modality)}
    code = own | {str(path) for path in Path(modalities.__file__).parent.glob("*.py")}

    return value_sha256(
        {
            "class": f"{kind.__module__}.{kind.__qualname__}",
            "code": [
                __version__,
                *(file_sha256(Path(file)) for file in sorted(filter(None, code))),
            ],
            "settings": modality.settings(),
            "constructed": [_plain(part) for part in (modality, modality.rows) if part is not None],
            "items": items.fingerprint(),
            "media": listed(stamped_media(items, modality)) if isinstance(items, Items) else [],
        }
    )


def _plain(part: Modality | RowReader) -> dict[str, Any]:
    """Return what a modality, or its reader, was constructed with."""
    return {
        key: value for key, value in vars(part).items() if not key.startswith("_") and key != "rows"
    }
