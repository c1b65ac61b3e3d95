"""Why a media file that a row names cannot be read, in words that lead to the cause."""

from functools import lru_cache
from pathlib import Path
from unicodedata import normalize


def why_absent(path: Path | None) -> str:
    """Return what is wrong with a path that should be a media file, and what to do; it names nothing of the path."""
    if path is None:
        return "the row names no media file; give it one, or drop the row"
    if path.is_dir():
        return "the media file is a folder; name the file in it"
    if path.is_file():
        return "the media file cannot be read; look at who may read it"
    if path.exists():
        return "the media file is a pipe or device; save it as a file"
    if "\\" in str(path):
        return "the media file is missing, and its path is written with \\; write it with /"
    if _has_twin(path):
        return "the media file is missing, but one is there whose name differs in case or accents; write it as it is"
    return "the media file is missing; restore it or drop the row"


def _has_twin(path: Path) -> bool:
    """Return whether a path is there when case, and the way in which accents are written, count for nothing."""
    folders = [*reversed(path.parents), path]
    gone = next(number for number, part in enumerate(folders) if not part.exists())
    return gone > 0 and _plain(folders[gone].name) in _names(folders[gone - 1])


@lru_cache(maxsize=16)
def _names(folder: Path) -> frozenset[str]:
    try:
        return frozenset(_plain(entry.name) for entry in folder.iterdir())
    except OSError:
        return frozenset()


def _plain(name: str) -> str:
    return normalize("NFC", name).casefold()
