"""Say why a media file that a row names cannot be read."""

import os
from functools import lru_cache
from pathlib import Path
from unicodedata import normalize


def why_absent(path: Path | None) -> str:
    """Return what is wrong with the path of a media file, and what to do.

    The answer repeats no part of the path, because a path may name a patient.
    """
    # What stands there is no readable file.
    if path is None:
        return "the row names no media file; give it one, or drop the row"
    if path.is_dir():
        return "the media file is a folder; name the file in it"
    if path.is_file():
        return "the media file cannot be read; look at who may read it"
    if path.exists():
        return "the media file is a pipe or device; save it as a file"

    # Nothing stands there: the first missing part of the path shows the cause.
    folder, gone = _first_gone(path)
    if gone.is_symlink():
        return (
            "the media file is a link that leads nowhere, or lies behind one; "
            "restore what the link points to"
        )
    if "\\" in str(path):
        return "the media file is missing, and its path is written with \\; write it with /"
    if any(part != part.strip() for part in path.relative_to(folder).parts):
        return (
            "the media file is missing, and its path has spaces around a name; "
            "write it without them"
        )
    if _has_twin(folder, gone.name):
        return (
            "the media file is missing, but one is there whose name differs in case or accents; "
            "write it as it is"
        )
    return "the media file is missing; restore it or drop the row"


def _first_gone(path: Path) -> tuple[Path, Path]:
    """Return the deepest existing folder of a path, and the missing part that should be in it."""
    parts = [path, *path.parents]
    gone = next(
        number for number, part in enumerate(parts[1:]) if part.exists() or part == part.parent
    )
    return parts[gone + 1], parts[gone]


def _has_twin(folder: Path, name: str) -> bool:
    """Return whether a folder holds a name that differs only in case or in written accents."""
    return _plain(name) in _names(folder)


@lru_cache(maxsize=16)
def _names(folder: Path) -> frozenset[str]:
    """Return the plain names in a folder, without broken links."""
    try:
        with os.scandir(folder) as entries:
            return frozenset(_plain(entry.name) for entry in entries if _leads_somewhere(entry))
    except OSError:
        return frozenset()


def _leads_somewhere(entry: os.DirEntry[str]) -> bool:
    return not entry.is_symlink() or Path(entry).exists()


def _plain(name: str) -> str:
    return normalize("NFC", name).casefold()
