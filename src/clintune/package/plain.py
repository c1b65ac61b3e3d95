"""Plain values out of a stranger's text: bounded, and without anything that a library resolves."""

import json
import math
import re
from pathlib import Path
from typing import Any, NoReturn

import yaml

from clintune.core.errors import PackageError

MOST_BYTES = 16 * 2**20
MOST_DEPTH = 32
MOST_NODES = 1_000_000
_MOST_INT = 2**64
_MOST_DIGITS = 100
_NUMBER = re.compile(r"[-+]?(0[xb][0-9a-fA-F_]+|[0-9_.]+([eE][-+]?[0-9]+)?)")
_BASE_60 = re.compile(r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?")
"""Text that YAML reads as hours, minutes and seconds; the time for it grows with its square."""
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_yaml(path: Path) -> Any:
    """Read one YAML document of mappings, lists, text, finite numbers and null.

    Keys are text or whole numbers. Raises PackageError for anything else (anchors, aliases, merge
    keys, tags, dates, interpolations), and for more than `MOST_BYTES`, `MOST_DEPTH` or
    `MOST_NODES`.
    """
    text = _read_text(path)
    try:
        _check_events(path, text)
        value = yaml.load(text, Loader=_LOADER)
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        if isinstance(error, PackageError):
            raise
        raise PackageError(f"{path}: is not YAML that clintune wrote; do not use it") from error
    _check_plain(path, value)
    return value


def read_json(path: Path) -> Any:
    """Read one JSON document within the same bounds.

    Raises PackageError for anything else, NaN and infinity included.
    """
    text = _read_text(path)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise PackageError(f"{path}: is not JSON that clintune wrote; do not use it") from error
    _check_plain(path, value)
    return value


def _read_text(path: Path) -> str:
    try:
        if path.stat().st_size > MOST_BYTES:
            _refuse(path, f"is larger than {MOST_BYTES // 2**20} MiB")
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PackageError(
            f"{path}: cannot be read as text ({type(error).__name__}); fetch it again"
        ) from error


def _check_events(path: Path, text: str) -> None:
    """Refuse a document that names, repeats or types a value, before any value is made of it."""
    depth = 0
    for number, event in enumerate(yaml.parse(text, Loader=_LOADER)):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if number > MOST_NODES or depth > MOST_DEPTH:
            _refuse(path, f"holds more than {MOST_NODES} values or {MOST_DEPTH} levels")

        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            _refuse(path, "repeats a value by an anchor")
        if getattr(event, "tag", None) is not None:
            _refuse(path, "gives a value a type of its own (a tag)")
        if isinstance(event, yaml.ScalarEvent) and event.value == "<<" and event.implicit[0]:
            _refuse(path, "merges mappings (<<)")
        if isinstance(event, yaml.ScalarEvent) and event.implicit[0]:
            _check_digits(path, event.value)


def _check_digits(path: Path, text: str) -> None:
    """Refuse a plain word that YAML would turn into a number at great cost."""
    if (":" in text and _BASE_60.fullmatch(text)) or (
        len(text) > _MOST_DIGITS and _NUMBER.fullmatch(text)
    ):
        _refuse(path, "holds a number of base 60, or of too many digits")


def _check_plain(path: Path, value: Any) -> None:
    """Refuse values that no package holds; each node is visited once, without recursion."""
    number, left = 0, [(value, 1)]
    while left:
        # Count before looking at the node.
        node, depth = left.pop()
        number += 1
        if number > MOST_NODES or depth > MOST_DEPTH:
            _refuse(path, f"holds more than {MOST_NODES} values or {MOST_DEPTH} levels")

        # Keys are checked as values are.
        if isinstance(node, dict):
            for key, part in node.items():
                if not isinstance(key, str | int) or isinstance(key, bool):
                    _refuse(path, "has a key that is neither text nor a whole number")
                left += [(key, depth + 1), (part, depth + 1)]
        elif isinstance(node, list):
            left += [(part, depth + 1) for part in node]
        elif isinstance(node, str):
            _check_text(path, node)
        elif isinstance(node, int | float):
            _check_number(path, node)
        elif node is not None:
            _refuse(path, f"holds a value of type {type(node).__name__}")


def _check_text(path: Path, text: str) -> None:
    if "${" in text or text == "???":
        _refuse(path, "reads variables of this machine, or leaves a value open")
    if any("\ud800" <= character <= "\udfff" for character in text):
        _refuse(path, "holds text that is no Unicode")


def _check_number(path: Path, number: float) -> None:
    if abs(number) > _MOST_INT if isinstance(number, int) else not math.isfinite(number):
        _refuse(path, "holds a number that is not finite, or too large")


def _refuse(path: Path, what: str) -> NoReturn:
    raise PackageError(f"{path}: {what}; do not use the package")
