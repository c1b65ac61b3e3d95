"""What in a release is known to be computed, and so is no one's.

It is known by where it stands, never by its looks.
"""

import json
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import yaml

from clintune.package.contents import ABOUT
from clintune.package.manifest import MANIFEST
from clintune.package.plain import read_json

_CHECKSUM = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
"""A commit or a SHA-256."""
_DECIMAL = re.compile(r"(?<![\w.])-?\d+\.\d+(?:e[-+]?\d+)?(?![\w.])", re.IGNORECASE)


def checksums(folder: Path) -> set[str]:
    """Return the checksums in the manifests and package descriptions below a folder.

    Those of descriptions are the checksums of base weights.
    """
    listed = [value for path in folder.rglob(MANIFEST) for value in read_json(path).values()]
    for path in folder.rglob(ABOUT):
        about = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        for record in about.get("weights", {}).values():
            listed += _of_origin(record)
    return only_checksums(listed)


def only_checksums(values: Collection[Any]) -> set[str]:
    """Return those of some values that are a checksum."""
    return {value for value in values if isinstance(value, str) and _CHECKSUM.fullmatch(value)}


def without_checksums(text: str, checksums: Collection[str]) -> str:
    """Return a text without some checksums."""
    for checksum in checksums:
        text = text.replace(checksum, " ")
    return text


def without_decimals(text: str, suffix: str) -> str:
    """Return the text of a JSON or YAML file without the decimals that are numbers there.

    A text of another `suffix` stays as it is.
    """
    known = {".json": _of_json, ".yaml": _of_yaml}.get(suffix)
    if known is None:
        return text
    decimals = known(text)
    return _DECIMAL.sub(lambda found: " " if found[0] in decimals else found[0], text)


def _of_origin(record: dict[str, Any]) -> Iterator[Any]:
    yield from (record.get("sha256"), record.get("revision"), *record.get("files", {}).values())
    if "tokenizer" in record:
        yield from _of_origin(record["tokenizer"])


def _of_json(text: str) -> set[str]:
    found: list[str] = []
    json.loads(text, parse_float=found.append)
    return set(found)


def _of_yaml(text: str) -> set[str]:
    scalars = (event for event in yaml.parse(text) if isinstance(event, yaml.ScalarEvent))
    unquoted = (scalar.value for scalar in scalars if scalar.style is None)
    return {value for value in unquoted if _DECIMAL.fullmatch(value)}
