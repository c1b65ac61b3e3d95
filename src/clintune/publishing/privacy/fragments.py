"""The readable text in the files of a release: what a person could find in them with patience."""

import json
import mmap
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from clintune.package.contents import ABOUT
from clintune.publishing.privacy.computed import without_checksums, without_decimals
from clintune.publishing.privacy.spelling import plain

LEAST = 8
"""Characters of the shortest run of text that is looked for in binary data."""
_LENGTH = 8
"""Bytes at the start of a safetensors file that tell the length of its header."""
_TEXT = (".md", ".json", ".yaml")
_PLAIN = re.compile(rb"[\x20-\x7e]{%d,}" % LEAST)
_WIDE = re.compile(rb"(?:[\x20-\x7e]\x00){%d,}[\x20-\x7e]" % (LEAST - 1))


def written(path: Path, checksums: Collection[str] = ()) -> str:
    """Return the text of a text file, or the names and remarks of a file of tensors, by `tidy`.

    JSON and YAML count as they are written, but for decimals that are numbers there, and as the
    strings that they stand for. None of the `checksums`, which are known to be no one's, is part of
    it.
    """
    parts = _in_text(path) if path.suffix in _TEXT else _in_header(path)
    return tidy(without_checksums(part, checksums) for part in parts)


def stray(path: Path) -> str:
    """Return the runs of printable characters among the tensors of a file, as `written` does.

    A character has one byte or two.
    """
    return "" if path.suffix in _TEXT else tidy(_in_tensors(path))


def vocabulary(path: Path) -> set[str]:
    """Return the strings of a package's description among its statistics and where it lists codes.

    They are as in `written`; another file has none.
    """
    if path.name != ABOUT:
        return set()
    about = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    modalities = about.get("composition", {}).get("modalities", {}).values()
    parts = [about.get("statistics", {}), *(part.get("codes") for part in modalities)]
    return {line for part in parts for line in tidy(_strings(part)).splitlines()}


def first_within(path: Path, strings: Sequence[str]) -> int | None:
    """Return the number of the first of some strings that a file holds, None where it holds none.

    They are looked for as UTF-8 and UTF-16, and in the strings of its JSON or YAML.
    """
    text = "\n".join(_in_text(path)) if path.suffix in _TEXT else ""
    with _mapped(path) as data:
        for number, string in enumerate(strings):
            encoded = (string.encode(code) for code in ("utf-8", "utf-16-le", "utf-16-be"))
            if string in text or any(data.find(part) >= 0 for part in encoded):
                return number
    return None


def _in_text(path: Path) -> Iterator[str]:
    text = path.read_text(encoding="utf-8")
    yield without_decimals(text, path.suffix)
    if path.suffix == ".json":
        yield from _strings(json.loads(text))
    elif path.suffix == ".yaml":
        yield from _strings(yaml.safe_load(text))


def _in_header(path: Path) -> Iterator[str]:
    with _mapped(path) as data:
        header = json.loads(data[_LENGTH : _header_size(path)])
    yield from header.keys()
    yield from _strings(header.get("__metadata__", {}))


def _in_tensors(path: Path) -> Iterator[str]:
    start = _header_size(path)
    with _mapped(path) as data:
        for pattern in (_PLAIN, _WIDE):
            for found in pattern.finditer(data, start):
                yield found[0].replace(b"\x00", b"").decode("ascii")


def _header_size(path: Path) -> int:
    """Return where the tensors of a safetensors file begin."""
    with path.open("rb") as file:
        return _LENGTH + int.from_bytes(file.read(_LENGTH), "little")


@contextmanager
def _mapped(path: Path) -> Iterator[mmap.mmap]:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        yield data


def tidy(fragments: Iterable[str]) -> str:
    """Return fragments as text to search: a fragment a line, each as `plain` spells it."""
    return "\n".join(line for part in fragments if (line := plain(part)))


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        value = [*value.keys(), *value.values()]
    if isinstance(value, list):
        for part in value:
            yield from _strings(part)
    elif isinstance(value, str):
        yield value
