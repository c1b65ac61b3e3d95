"""What the pieces and statistics of a modality depend on beside the items, as keys of caches."""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clintune.core.files import file_sha256
from clintune.modalities.base import Modality, item_reader
from clintune.modalities.readers import Reader

_FORMAT = 8
"""Raise it when a change of clintune's own modalities makes the same files give other pieces."""
_OWN = "clintune."
_NOT_OF_ITEMS = ("codes", "views")
"""Arguments that say which items are read and how many views there are, not what a view holds."""


def cache_key(modality: Modality, statistics: Mapping[str, Any], precision: str) -> dict[str, Any]:
    """Return, JSON-able, all that the pieces of an item depend on beside the item.

    A frozen encoder computes in `precision`. The modality is built. The code of clintune counts by
    a version, as no release shall compute everything anew; that of users counts by its content.
    """
    reader = item_reader(modality)
    key = {
        "format": _FORMAT,
        "reader": [*_component(reader), reader.encoder_needs()],
        "statistics": dict(statistics),
        "weights": modality.origin,
    }
    if modality.cacheable:
        key["encoder"] = [*_component(modality), precision]
    return key


def class_name(part: Reader | Modality) -> str:
    """Return the name of a component's class, with its module."""
    return f"{type(part).__module__}.{type(part).__qualname__}"


def code_files(part: Reader | Modality) -> dict[str, str]:
    """Return the file of each class of a component, its bases included, by module."""
    kinds = [kind for kind in type(part).__mro__ if issubclass(kind, Reader | Modality)]
    return {kind.__module__: inspect.getsourcefile(kind) or "" for kind in kinds}


def _component(part: Reader | Modality) -> list[Any]:
    kept = {name: value for name, value in part.arguments.items() if name not in _NOT_OF_ITEMS}
    return [class_name(part), _users_code(part), kept]


def _users_code(part: Reader | Modality) -> list[str]:
    """Return the hashes of the files of users in which a component's classes stand."""
    files = [file for module, file in code_files(part).items() if not module.startswith(_OWN)]
    return [file_sha256(Path(file)) for file in sorted(files)]
