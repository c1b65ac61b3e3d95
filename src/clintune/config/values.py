"""Check keys and values of a config one by one.

A key must be given, and known to the schema or a class; a value must fit its kind and bounds.
"""

import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from math import inf, isfinite
from typing import Any

from clintune.config.schema import MOST, entry_of
from clintune.config.signature import parameters
from clintune.config.suggest import in_words, nearest
from clintune.core.errors import ConfigError
from clintune.core.text import visible

RUNTIME = frozenset({"root", "folder", "name", "settings"})
"""Parameters that clintune passes itself: the root of a cohort's writer, the run of a tracker."""
_HYDRA = frozenset({"_target_", "_args_", "_convert_", "_partial_", "_recursive_"})
"""Keys of Hydra's own beside parameters; a part that clintune makes takes the first alone."""
_PART = frozenset({"_target_"})

_HALF = re.compile("[\ud800-\udfff]")


def missing(node: Any, path: str = "") -> Iterator[str]:
    """Yield a problem for each key that still must be given."""
    for where, value in _leaves(node, path):
        if value == "???":
            yield f"'{where}' must be given (add {where}=VALUE)"


def endless(node: Any) -> Iterator[str]:
    """Yield a problem for each number that is not finite: 1e400, for example, reads as infinity."""
    for where, value in _leaves(node):
        if isinstance(value, float) and not isfinite(value):
            yield f"'{where}' is {value}; give a finite number"


def no_text(node: Any) -> Iterator[str]:
    """Yield a problem for each text that UTF-8 cannot hold, such as half a pair of `\\u` escapes.

    No file could be written with it.
    """
    for where, value in _leaves(node):
        if isinstance(value, str) and not value.isascii() and (half := _HALF.search(value)):
            yield (
                f"'{where}' holds {visible(half[0])}, which is no character of UTF-8; "
                "write a character"
            )


def misfits(kind: Any, node: dict[str, Any], path: str = "") -> Iterator[str]:
    """Yield a problem for each unknown key, and each value outside its choices or bounds."""
    known = [item.name for item in fields(kind)]
    for key in node.keys() - set(known):
        yield f"key '{path}{key}' does not exist{nearest(str(key), known)}"

    for item in fields(kind):
        value, where = node[item.name], f"{path}{item.name}"
        if is_dataclass(item.type):
            yield from misfits(item.type, value, f"{where}.")
        elif is_dataclass(entry := entry_of(item.type)):
            for name, part in value.items():
                yield from misfits(entry, part, f"{where}.{name}.")

        choices = item.metadata.get("choices")
        least, most = item.metadata.get("bounds", (-inf, inf))
        if choices and value not in choices:
            yield f"'{where}' {value} does not exist; use {in_words(choices)}"
        elif isinstance(value, float | int) and isfinite(value) and not least <= value <= most:
            wanted = f"{least} or more" if value < least and most == MOST else f"{least} to {most}"
            yield f"'{where}' is {value}; give {wanted}"


def targets(node: Any, path: str = "") -> Iterator[str]:
    """Yield what is wrong below each `_target_`: unknown or missing keys, values that misfit."""
    if isinstance(node, list):
        for index, value in enumerate(node):
            yield from targets(value, f"{path}[{index}]")
    if not isinstance(node, dict):
        return
    if isinstance(node.get("_target_"), str):
        yield from _part(node, path)
    for key, value in node.items():
        yield from targets(value, f"{path}.{key}" if path else str(key))


def _part(part: dict[str, Any], path: str) -> Iterator[str]:
    try:
        known = parameters(part["_target_"])
    except ConfigError as error:
        yield f"'{path}': {error}"
        return

    of_hydra = _PART if _is_part(path) else _HYDRA
    given = {str(key): value for key, value in part.items() if key not in of_hydra}
    for key in sorted(given.keys() - known.keys()):
        class_name = part["_target_"].rpartition(".")[2]
        yield f"'{path}.{key}' is not a key of {class_name}{nearest(key, known)}"

    needed = {name for name, parameter in known.items() if parameter.required}
    for key in sorted(needed - given.keys() - RUNTIME):
        yield f"'{path}.{key}' must be given (add {path}.{key}=VALUE)"
    for key in sorted(given.keys() & known.keys()):
        if given[key] != "???" and (wanted := known[key].refuses(given[key])):
            yield f"'{path}.{key}' is {_shown(given[key])}; give {wanted}"


def _shown(value: Any) -> str:
    """Return a value as YAML writes it."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    return repr(value)


def _is_part(path: str) -> bool:
    """Return whether clintune itself makes the object at a key.

    It makes the tracker, the modalities, the tasks, and the source of each cohort.
    """
    names = path.split(".")
    return len(names) <= 2 or (len(names) == 3 and names[-1] == "source")


def _leaves(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each value that holds no other values, with its key."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield from _leaves(value, f"{path}.{key}" if path else str(key))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from _leaves(value, f"{path}[{index}]")
    else:
        yield path, node
