"""The cache folder: what is in it, which of it is in use, and what makes room.

    index/NAME-KEY/         a cohort's sample index       statistics/MODALITY-KEY.json   what `Modality.fit` returned
    pieces/KEY/             a modality's prepared items   media/COHORT-KEY.parquet       hashes of media files
    packages/KEY/           a package from a hub

Beside each of them `NAME.lock` is held by whoever writes it. Who reads a folder holds a shared lock on its `.used`.
"""

import fcntl
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from clintune.core.console import console
from clintune.core.locks import if_free

KINDS = ("index", "pieces", "statistics", "media", "packages")
_BULKY = ("index", "pieces")
_held: dict[Path, int] = {}
"""The folders that this process uses, each with the descriptor of its shared lock."""


@dataclass(frozen=True)
class Entry:
    """Something in the cache: `size` in bytes, `used` in seconds since 1970."""

    kind: str
    path: Path
    owner: str
    size: int
    used: float


def in_use(folder: Path) -> None:
    """Keep `folder` from being removed as long as this process lives, and remember that it was used now."""
    mark = folder / ".used"
    if folder in _held and not (mark.exists() and os.path.samestat(mark.stat(), os.fstat(_held[folder]))):
        os.close(_held.pop(folder))  # the folder was made anew
    if folder not in _held:
        _held[folder] = os.open(mark, os.O_RDWR | os.O_CREAT, 0o666)
        fcntl.flock(_held[folder], fcntl.LOCK_SH)
    os.utime(mark)


def entries(cache: Path) -> list[Entry]:
    """Return what is in the cache, last used first."""
    found = [
        Entry(kind, path, _owner(kind, path), _size(path), _used(path))
        for kind in KINDS
        for path in sorted((cache / kind).glob("*"))
        if path.suffix not in (".lock", ".holder", ".partial") and not path.name.startswith(".")
    ]
    return sorted(found, key=lambda entry: -entry.used)


def show(cache: Path) -> None:
    """Print a table of what is in the cache to standard output."""
    table = Table("kind", "belongs to", "GB", "last used (UTC)", box=SIMPLE)
    listed = entries(cache)
    for entry in listed:
        used = datetime.fromtimestamp(entry.used, UTC).strftime("%Y-%m-%d %H:%M")
        table.add_row(entry.kind, entry.owner, f"{entry.size / 1e9:.3f}", used)
    table.add_row("all", str(cache), f"{sum(entry.size for entry in listed) / 1e9:.3f}", "", style="bold")
    Console(highlight=False).print(table)


def make_room(cache: Path, limit_gb: float | None) -> None:
    """Remove leftovers of killed processes and, beyond the limit, the longest unused folders that nobody uses."""
    sweep(cache)
    if limit_gb is None:
        return
    listed = entries(cache)
    excess = sum(entry.size for entry in listed) - limit_gb * 1e9
    evicted = []
    for entry in reversed(listed):
        if excess > 0 and entry.kind in _BULKY and remove(entry.path):
            excess -= entry.size
            evicted.append(entry)
    if evicted:
        days = (time.time() - evicted[-1].used) / 86_400
        console.print(
            f"cache: removed {len(evicted)} folders ({_gb(evicted)}) not used for {days:.1f} days or longer, to stay "
            f"within data.cache_limit_gb={limit_gb:g}"
        )


def clear(cache: Path, older_than_days: float) -> list[Entry]:
    """Remove what has not been used for so many days and is not in use now; return it."""
    sweep(cache)
    oldest = time.time() - older_than_days * 86_400
    return [entry for entry in entries(cache) if entry.used <= oldest and remove(entry.path)]


def remove(path: Path) -> bool:
    """Remove a file or folder of the cache whole, unless somebody writes or uses it; return whether it is gone."""
    with if_free(path) as free:
        if not free or _is_used(path):
            return False
        holder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        path.rename(holder / path.name)
        shutil.rmtree(holder, ignore_errors=True)
        return True


def sweep(cache: Path) -> None:
    """Remove temporary folders that killed processes left, where nobody is writing."""
    for guarded, leftover in list(_leftovers(cache)):
        with if_free(guarded) as free:
            if free:
                shutil.rmtree(leftover, ignore_errors=True)


def _leftovers(cache: Path) -> Iterator[tuple[Path, Path]]:
    """Yield what `atomic_path` made and did not take away, each with the entry whose lock guards it."""
    for kind in KINDS:
        for path in (cache / kind).glob(".*.*"):
            if path.is_dir():
                yield path.with_name(path.name[1:].rpartition(".")[0]), path
        for path in (cache / kind).glob("[!.]*/**/.*.*"):
            if path.is_dir():
                yield cache / kind / path.relative_to(cache / kind).parts[0], path


def _is_used(path: Path) -> bool:
    mark = path / ".used"
    if not mark.exists():
        return False
    descriptor = os.open(mark, os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _owner(kind: str, path: Path) -> str:
    """Say what an entry belongs to."""
    if kind == "packages":
        lines = (path / "README.md").read_text(encoding="utf-8").splitlines() if path.is_dir() else []
        return next((line.removeprefix("# ") for line in lines if line.startswith("# ")), path.name)
    about = path / ("index.json" if kind == "index" else "about.json")
    if not about.is_file():
        return path.stem.rpartition("-")[0]
    known = json.loads(about.read_text(encoding="utf-8"))
    return f"{known['name']} ({known['root'] if kind == 'index' else known['source']})"


def _size(path: Path) -> int:
    return sum(file.lstat().st_size for file in (path.rglob("*") if path.is_dir() else [path]) if file.is_file())


def _used(path: Path) -> float:
    mark = path / ".used"
    return (mark if mark.exists() else path).stat().st_mtime


def _gb(listed: list[Entry]) -> str:
    return f"{sum(entry.size for entry in listed) / 1e9:.2f} GB"
