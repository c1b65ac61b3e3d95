"""The cache folder: who may read it, which entries are in use, and how room is made.

    index/NAME-KEY/                the sample index of a cohort
    pieces/KEY/                    the preprocessed items of a modality
    statistics/MODALITY-KEY.json   what `Modality.fit` returned
    media/COHORT-KEY.parquet       the hashes of media files
    packages/KEY/                  a package from a hub
    cohorts/NAME/                  the cohort that a `source` wrote
    remote/NAME-KEY.mirror/        the copy of a remote cohort

The process that writes an entry holds `NAME.lock` beside it. A process that reads a folder holds a
shared lock on the folder's `.used`.
"""

import errno
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from clintune.core.console import console
from clintune.core.errors import ConfigError
from clintune.core.files import write_text
from clintune.core.locks import lock_of, try_lock
from clintune.core.paths import writable_folder
from clintune.core.text import visible
from clintune.storage.cache_entries import (
    KINDS,
    MARK,
    TAG,
    Entry,
    entries,
    gigabytes,
    guarded,
    locks,
    others,
)
from clintune.storage.private import how_to_close, share_with_group

_BULKY = ("index", "pieces", "cohorts", "remote")
"""The kinds that are removed beyond the limit: they are large, and can be made again."""
_held: dict[Path, int] = {}
"""The folders that this process uses, each with the descriptor of its shared lock."""
_warned: set[Path] = set()
"""The folders of which this process said that others can read them."""


def open_cache(path: str, *, shared: bool) -> Path:
    """Make the folder that `data.cache` names; only its owner, or its group if `shared`, enters it.

    Says once how to close a folder that others can read. Raises ConfigError where nothing can be
    written.
    """
    folder = writable_folder(path, "data.cache")
    if shared:
        share_with_group(folder)
    claim(folder)

    closing = how_to_close(folder, shared=shared)
    if closing is not None and folder not in _warned:
        _warned.add(folder)
        console.print(
            f"warning: the cache {folder} holds text of notes, and other users can read it; "
            f"close it with `{closing}`"
        )
    return folder


def claim(folder: Path) -> None:
    """Mark a folder as a cache.

    Raises ConfigError where other things stand in it, which could be removed by mistake.
    """
    if (folder / TAG).exists():
        return
    if strange := others(folder):
        raise ConfigError(
            f"data.cache: {folder} holds {visible(strange[0].owner)}, which is not clintune's; "
            "name an empty folder"
        )
    signature = "Signature: 8a477f597d28d172789f06886806bc55\n# The cache of clintune.\n"
    write_text(folder / TAG, signature)


def mark_used(folder: Path) -> None:
    """Mark a folder as used now, and keep it from being removed while this process lives."""
    try:
        descriptor = os.open(folder / MARK, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        if error.errno not in (errno.EROFS, errno.EACCES):
            raise
        return  # what cannot be written to is not removed either

    os.utime(descriptor)
    fcntl.flock(descriptor, fcntl.LOCK_SH)

    before, _held[folder] = _held.get(folder), descriptor
    if before is not None:
        os.close(before)


def evict(cache: Path, limit_gb: float | None) -> None:
    """Remove leftovers of killed processes and, beyond the limit, the folders unused for longest.

    All entries count towards the limit. Only large entries that nobody uses and that can be made
    again are removed: never a folder of the user's, nor anything as small as statistics.
    """
    sweep(cache)
    if limit_gb is None:
        return

    # The last used entry comes first, so the removal begins at the end.
    listed = entries(cache)
    excess = sum(entry.size for entry in listed) - limit_gb * 1e9
    evicted = []
    for entry in reversed(listed):
        if excess > 0 and entry.kind in _BULKY and entry.stays is None and remove(entry.path):
            excess -= entry.size
            evicted.append(entry)

    if evicted:
        days = (time.time() - evicted[-1].used) / 86_400
        console.print(
            f"cache: removed {len(evicted)} folders ({gigabytes(evicted)} GB) "
            f"not used for {days:.1f} days or longer, "
            f"to stay within data.cache_limit_gb={limit_gb:g}"
        )


def clear(cache: Path, older_than_days: float) -> tuple[list[Entry], list[tuple[Entry, str]]]:
    """Remove the entries that were not used for so many days and are not in use now.

    Returns the removed entries, and those that stay, each with the reason.
    """
    sweep(cache)
    oldest = time.time() - older_than_days * 86_400
    gone, left = [], []

    for entry in entries(cache):
        if entry.stays is not None:
            left.append((entry, entry.stays))
        elif entry.used > oldest:
            left.append((entry, f"used in the last {older_than_days:g} days"))
        elif remove(entry.path):
            gone.append(entry)
        else:
            left.append((entry, "a process uses it"))
    return gone, left


def remove(path: Path) -> bool:
    """Remove a file or folder of the cache whole; False where a process writes or uses it."""
    with try_lock(guarded(path)) as free:
        if not free or _is_used(path):
            return False

        holder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        path.rename(holder / path.name)
        shutil.rmtree(holder, ignore_errors=True)
        _drop_lock(guarded(path))
        return True


def sweep(cache: Path) -> None:
    """Remove temporary folders of killed processes, and locks of what is gone.

    Nothing is removed where a process is writing.
    """
    for guard, leftover in list(_leftovers(cache)):
        with try_lock(guard) as free:
            if free:
                shutil.rmtree(leftover, ignore_errors=True)

    for lock in locks(cache):
        guard = lock.with_suffix("")
        with try_lock(guard) as free:
            if free and not _guards_something(guard):
                _drop_lock(guard)


def _drop_lock(guard: Path) -> None:
    """Remove a lock that this process holds; a process that waits for it makes a new one."""
    guard.with_name(f"{guard.name}.holder").unlink(missing_ok=True)
    lock_of(guard).unlink(missing_ok=True)


def _guards_something(guard: Path) -> bool:
    beside = (guard, guard.with_name(guard.name.removeprefix(".")), guard.with_suffix(".partial"))
    return any(path.exists() for path in beside)


def _leftovers(cache: Path) -> Iterator[tuple[Path, Path]]:
    """Yield each temporary folder of `atomic_path` that is left, after the guard of its entry."""
    for kind in KINDS:
        for path in (cache / kind).glob(".*.*"):
            if path.is_dir():
                yield guarded(path.with_name(path.name[1:].rpartition(".")[0])), path
    # Deeper, inside entries. Those of the other kinds may hold files of any name.
    for kind in ("index", "pieces"):
        for path in (cache / kind).glob("[!.]*/**/.*.*"):
            if path.is_dir():
                yield cache / kind / path.relative_to(cache / kind).parts[0], path


def _is_used(path: Path) -> bool:
    try:
        descriptor = os.open(path / MARK, os.O_RDWR)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:  # it belongs to another user
        return True

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
