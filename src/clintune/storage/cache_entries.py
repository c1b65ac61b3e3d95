"""The content of the cache folder: each entry with its owner, its size and its last use."""

import json
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from rich.table import Column, Table

from clintune.core.files import is_partial

KINDS = ("index", "pieces", "statistics", "media", "packages", "cohorts", "remote")
MARK = ".used"
"""The file in a folder whose time says when it was used, and whose lock whether it is in use."""
TAG = "CACHEDIR.TAG"
"""The file that marks a folder as a cache, whose content may be removed (bford.info/cachedir)."""
WRITTEN = ".source.json"
"""The file that a `source` leaves in the cohort that it wrote."""
_NO_SOURCE = "no `source` wrote it: it is yours"
_NOT_OURS = "clintune did not make it"


@dataclass(frozen=True)
class Entry:
    """An entry of the cache.

    `size` is in bytes, `used` the last use in seconds since 1970. `stays` says why the entry is
    never removed; None where it may be.
    """

    kind: str
    path: Path
    owner: str
    size: int
    used: float
    stays: str | None = None


def entries(cache: Path) -> list[Entry]:
    """Return what clintune keeps in the cache, last used first, also what is damaged."""
    found = []
    for kind in KINDS:
        for path in sorted((cache / kind).glob("*")):
            if path.suffix not in (".lock", ".holder") and not path.name.startswith("."):
                found.append(_entry(kind, path))

    return sorted(found, key=lambda entry: -entry.used)


def others(cache: Path) -> list[Entry]:
    """Return what stands in the cache folder but is not clintune's."""
    ours = (*KINDS, TAG)
    strange = sorted(
        path
        for path in cache.iterdir()
        # Another process may be writing the tag at this moment.
        if path.name not in ours and not is_partial(path, TAG)
    )
    return [
        Entry("other", path, path.name, _size(path), _used(path), _NOT_OURS) for path in strange
    ]


def locks(cache: Path) -> list[Path]:
    """Return the lock files of the cache."""
    return [path for kind in KINDS for path in sorted((cache / kind).glob("*.lock"))]


def guarded(path: Path) -> Path:
    """Return the path whose lock guards an entry."""
    if path.parent.name == "cohorts":
        return path.with_name(f".{path.name}")
    if path.suffix == ".partial":
        return path.with_suffix(".mirror" if path.parent.name == "remote" else "")
    return path


def gigabytes(listed: Sequence[Entry]) -> str:
    """Return the size of entries in GB."""
    return f"{sum(entry.size for entry in listed) / 1e9:.3f}"


def table(cache: Path) -> Table:
    """Return a table of the whole cache; the owner stands in the last column, as it may be long."""
    listed, num_locks = [*entries(cache), *others(cache)], len(locks(cache))
    size = Column("GB", justify="right")
    shown = Table("kind", size, "last used (UTC)", "belongs to", box=None)
    for entry in listed:
        used = datetime.fromtimestamp(entry.used, UTC).strftime("%Y-%m-%d %H:%M")
        shown.add_row(entry.kind, gigabytes([entry]), used, entry.owner)

    # Locks, and the sum of all.
    if num_locks:
        text = f"{num_locks} files; `--clear` removes those of what is gone"
        shown.add_row("locks", "0.000", "", text)
    shown.add_row("all", gigabytes(listed), "", str(cache))
    return shown


def _entry(kind: str, path: Path) -> Entry:
    stays = _NO_SOURCE if kind == "cohorts" and not (path / WRITTEN).is_file() else None
    return Entry(kind, path, _owner(kind, path), _size(path), _used(path), stays)


def _owner(kind: str, path: Path) -> str:
    """Return what an entry belongs to; a damaged entry goes by the name of its file."""
    if path.suffix == ".partial":
        return f"{path.name} (half fetched)"

    try:
        # A package is named by its card's title, an index or pieces by what made them.
        if kind == "packages":
            lines = (path / "README.md").read_text(encoding="utf-8").splitlines()
            titles = (line.removeprefix("# ") for line in lines if line.startswith("# "))
            return next(titles, path.name)
        if kind in ("index", "pieces"):
            is_index = kind == "index"
            description = path / ("index.json" if is_index else "about.json")
            known = json.loads(description.read_text(encoding="utf-8"))
            return f"{known['name']} ({known['root' if is_index else 'source']})"
    except (OSError, ValueError, LookupError, TypeError):
        return f"{path.name} (its description cannot be read)"

    return path.stem.rpartition("-")[0] or path.name


def _size(path: Path) -> int:
    """Return the bytes of a file, or of all files in a folder.

    What vanishes meanwhile, or cannot be read, counts 0.
    """
    try:
        status = path.lstat()
        if not stat.S_ISDIR(status.st_mode):
            return status.st_size if stat.S_ISREG(status.st_mode) else 0
        with os.scandir(path) as found:
            return sum(_size(Path(part.path)) for part in found)
    except OSError:
        return 0


def _used(path: Path) -> float:
    """Return when an entry was last used, or when it was written where no mark says it."""
    for candidate in (path / MARK, path):
        try:
            return candidate.lstat().st_mtime
        except OSError:
            continue
    return 0.0
