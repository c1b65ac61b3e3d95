"""What the modalities learned from training items, remembered so that a warm start reads none of them."""

import inspect
import os
from pathlib import Path
from typing import Any

from clintune import __version__, modalities
from clintune.cohort.samples import Items
from clintune.core.files import file_sha256, read_sealed, value_sha256, write_sealed
from clintune.core.locks import only_one
from clintune.modalities.base import Modality
from clintune.model.item_keys import listed, stamped_media
from clintune.model.sealed import drop

Statistics = dict[str, dict[str, Any]]
"""What `Modality.fit` returned, by modality; JSON-able."""


def remembered_statistics(name: str, modality: Modality, items: Items, cache: Path) -> dict[str, Any]:
    """Return `modality.fit(items)`, from `cache` where the same was fitted before; one process fits, others wait.

    The key holds the modality's class, its code and all it was constructed with, the items, and the stamps of their
    media files.
    """
    if type(modality).fit is Modality.fit:
        return {}
    path = cache / "statistics" / f"{name}-{_key(modality, items)[:32]}.json"
    with only_one(path, f"the statistics of {name}"):
        statistics = read_sealed(path)
        if statistics is None:
            if path.exists():
                drop(path)
            write_sealed(path, modality.fit(items))
            statistics = read_sealed(path)
        os.utime(path)
    assert statistics is not None, "statistics can be read as they were written"
    return statistics


def _key(modality: Modality, items: Items) -> str:
    kind = type(modality)
    own = {inspect.getsourcefile(part) for part in kind.__mro__ if issubclass(part, Modality)}
    code = own | {str(path) for path in Path(modalities.__file__).parent.glob("*.py")}

    return value_sha256(
        {
            "class": f"{kind.__module__}.{kind.__qualname__}",
            "code": [__version__, *(file_sha256(Path(file)) for file in sorted(filter(None, code)))],
            "settings": modality.settings(),
            "constructed": {key: value for key, value in vars(modality).items() if not key.startswith("_")},
            "items": items.fingerprint(),
            "media": listed(stamped_media(items, modality)),
        }
    )
