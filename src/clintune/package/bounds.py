"""Bounds of the numbers in a package's composition; docs/package.md lists them."""

from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from clintune.config.schema import Adapter, Backbone, Model
from clintune.config.signature import parameters
from clintune.core.errors import ConfigError, PackageError
from clintune.core.numbers import is_finite
from clintune.package.short_text import in_short
from clintune.weights.base_files import MOST_COUNT, counts, most_of

COMPOSED = ("modalities", "tasks", "backbone", "adapter", "model")
"""The sections of a recipe that make a model."""
MOST = {
    "alpha": 2**16,
    "bin_hours": 24 * 366,
    "chunk_tokens": 2**17,
    "days": 366,
    "depth": 128,
    "max_bins": 2**12,
    "max_pieces": 2**16,
    "max_tokens": 2**20,
    "overlap_tokens": 2**17,
    "patch": 2**20,
    "r": 2**12,
    "rate_hz": 10**5,
    "regions": 64,
    "size": 2**11,
    "tokens": 2**10,
    "views": 2**8,
    "width": 2**14,
    "window_hours": 24 * 366,
}
"""The greatest value of a key of a modality, backbone or adapter."""
LEAST = {
    "bin_hours": 1 / 3600,
    "chunk_tokens": 1,
    "days": 1,
    "depth": 0,
    "max_bins": 1,
    "max_pieces": 1,
    "overlap_tokens": 0,
    "patch": 1,
    "rate_hz": 1 / 86_400,
    "regions": 0,
    "size": 1,
    "tokens": 1,
    "views": 1,
    "width": 1,
    "window_hours": 1 / 3600,
}
"""The least value of a key of a modality, backbone or adapter."""
MOST_NUMBER = 2**40
MOST_LIST = 2**16
MOST_WINDOW = 2**25
DTYPES = ("float32", "bfloat16", "float16", "float64")
_ALL_LINEAR = "all-linear"


def check_bounds(folder: Path, composition: Mapping[str, Any]) -> None:
    """Raise PackageError for what is `out_of_bounds`.

    The classes of the composition must have been checked: their modules are imported.
    """
    if problems := out_of_bounds(composition):
        raise PackageError(in_short(f"{folder}: {problems[0]}; do not use the package"))


def out_of_bounds(composition: Mapping[str, Any]) -> list[str]:
    """Return the problems of a composition: unknown keys, wrong types, numbers or lists too large.

    The sections `COMPOSED` are checked. This needs no torch.
    """
    problems = [
        *_of_schema("backbone", Backbone, composition["backbone"]),
        *_of_schema("adapter", Adapter, composition["adapter"]),
        *_of_schema("model", Model, composition["model"]),
        *_dtype(composition["backbone"].get("dtype", DTYPES[0])),
        *_targets(composition["adapter"].get("targets")),
    ]
    for section in ("modalities", "tasks"):
        for name, part in composition[section].items():
            problems += _of_signature(f"{section}.{name}", part)
    return [*problems, *_too_much("", composition)]


def _of_schema(where: str, kind: Any, node: Mapping[str, Any]) -> Iterator[str]:
    """Yield what the schema of recipes refuses."""
    known = {item.name: item.metadata for item in fields(kind)}
    for key, value in node.items():
        if key not in known:
            yield f"{where}.{key} is a key that no recipe has"
            continue

        choices = known[key].get("choices")
        least, most = known[key].get("bounds", (None, None))
        is_bounded = least is not None and value is not None
        if choices and value not in choices:
            yield f"{where}.{key} is none of its choices"
        elif is_bounded and not (is_finite(value) and least <= value <= most):
            yield f"{where}.{key} is out of bounds ({least:g} to {most:g})"


def _of_signature(where: str, part: Mapping[str, Any]) -> Iterator[str]:
    """Yield what the constructor of a part refuses."""
    try:
        known = parameters(part["_target_"])
    except ConfigError as error:
        yield f"{where}: {error}"
        return

    for key, value in part.items():
        if key == "_target_":
            continue
        if key not in known:
            yield f"{where}.{key} is no key of its class"
        elif wanted := known[key].refuses(value):
            yield f"{where}.{key} is not {wanted}"

    if (length := _window(part)) is not None and not 1 <= length <= MOST_WINDOW:
        yield f"{where} asks for windows of more than {MOST_WINDOW} samples, or of less than one"


def _dtype(dtype: Any) -> Iterator[str]:
    if dtype not in DTYPES:
        yield f"backbone.dtype is none of {', '.join(DTYPES)}"


def _targets(targets: Any) -> Iterator[str]:
    """Yield LoRA targets that are a pattern: PEFT would search every name with it."""
    named = isinstance(targets, list) and all(isinstance(name, str) for name in targets)
    if not (targets is None or targets == _ALL_LINEAR or named):
        yield f"adapter.targets is neither a list of names nor {_ALL_LINEAR}"


def _too_much(where: str, node: Any) -> Iterator[str]:
    """Yield each number that is out of bounds, and each list that is too long or repeats a word.

    Inside the config of an encoder or backbone a list may repeat words.
    """
    # Numbers of a mapping are bounded by their key, those of a list by the key of the list.
    if isinstance(node, dict):
        for key, value in node.items():
            place = f"{where}.{key}" if where else str(key)
            yield from _too_much(place, value)
            least, most = _least(where, str(key)), _most(where, str(key))
            if is_finite(value) and not least <= value <= most:
                yield f"{place} is out of bounds ({least:g} to {most:g})"

    elif isinstance(node, list):
        above, _, key = where.rpartition(".")
        words = [value for value in node if isinstance(value, str)]
        if len(node) > MOST_LIST or (len(set(words)) < len(words) and not _in_config(where)):
            yield f"{where} is too long, or says a word twice"
        for value in node:
            yield from _too_much(where, value)
            if is_finite(value) and value > min(_most(above, key), MOST_COUNT):
                yield f"{where} holds a number out of bounds"


def _window(part: Mapping[str, Any]) -> float | None:
    """Return how many samples a window holds; None for a part without windows."""
    hours = part.get("window_hours", 24 * part["days"] if is_finite(part.get("days")) else None)
    rate = part.get("rate_hz")
    return hours * 3600 * rate if is_finite(hours) and is_finite(rate) else None


def _most(where: str, key: str) -> float:
    if key in MOST and not _in_config(where):
        return MOST[key]
    return most_of(key) if counts(key) else MOST_NUMBER


def _least(where: str, key: str) -> float:
    return LEAST[key] if key in LEAST and not _in_config(where) else -MOST_NUMBER


def _in_config(where: str) -> bool:
    """Return whether a place is inside the config of an encoder or backbone.

    The keys there are those of its family.
    """
    return "config" in where.split(".")
