"""Files that appear whole or not at all, and the hashes that identify them."""

import errno
import glob
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from clintune.core.errors import DataError, StorageError, translate_errors

_REASONS = {
    errno.ENOSPC: "the disk is full; free some of it, or name another folder",
    errno.EDQUOT: "the disk quota is used up; free some of it, or name another folder",
    errno.EFBIG: "the file is too large for the disk or for `ulimit -f`; raise the limit, "
    "or name another folder",
    errno.EROFS: "the disk is read-only; name another folder",
    errno.EACCES: "writing is not permitted; correct its permissions, or name another folder",
    errno.EPERM: "writing is not permitted; correct its permissions, or name another folder",
    errno.EIO: "the disk fails (input/output error); check it, or name another folder",
    errno.ESTALE: "the network disk was lost (stale file handle); mount it again",
}
"""The errors of a disk, each with its remedy."""
_SEAL = "sha256"
_PARTIAL = ".partial"
"""The ending of the name of a folder in which something is being written."""

Stamp = tuple[str, int, int, int, int]
"""The state of a file: path, size, inode, times of modification and of change in nanoseconds."""


def is_partial(path: Path, name: str) -> bool:
    """Return whether `atomic_path` uses a folder to write what will be called `name`."""
    return path.name.startswith(f".{name}.") and path.suffix == _PARTIAL


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; after the block, flush it and rename it to `path`.

    The block may write a file or make a folder there. A folder replaces an older one of the same
    name. After an exception nothing is left behind and an older `path` is untouched. Raises
    StorageError where the disk is full, read-only or failing, whichever library reports it.
    """
    with storing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        holder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=_PARTIAL, dir=path.parent))
        partial = holder / path.name

        try:
            yield partial
            _flush(partial)

            # A folder cannot be renamed over another one: the older one moves away first.
            if partial.is_dir() and path.exists():
                path.replace(holder / "replaced")
            partial.replace(path)
            _flush_one(path.parent)
        finally:
            shutil.rmtree(holder, ignore_errors=True)


def sweep_leftovers(path: Path) -> None:
    """Remove what killed processes were writing as `path`, or below it where it is a folder.

    The caller holds a lock without which nobody writes there. So no living process is writing what
    is found.
    """
    beside = path.parent.glob(f".{glob.escape(path.name)}.*{_PARTIAL}")
    for left in [*beside, *path.rglob(f".*{_PARTIAL}")]:
        if left.is_dir() and not left.is_symlink():
            shutil.rmtree(left, ignore_errors=True)


@contextmanager
def storing(path: Path) -> Iterator[None]:
    """Turn the error of any library about a disk that does not take `path` into a StorageError."""
    with translate_errors(
        StorageError, str(path), lambda error: storage_reason(error, path.parent)
    ):
        yield


def storage_reason(error: BaseException, folder: Path) -> str | None:
    """Return what a disk reported on a write below `folder`, and the remedy; None for other errors.

    safetensors, polars and shutil hide the number of the system's error in their message. An error
    of a copy names two files, and the second is the one that is written.
    """
    if isinstance(error, OSError) and error.errno is not None:
        # A file that stands elsewhere was read, not written.
        named = [name for name in (error.filename, error.filename2) if name is not None]
        elsewhere = named and not any(_is_below(name, folder) for name in named)
        return None if elsewhere else _REASONS.get(error.errno)

    numbers = (int(number) for number in re.findall(r"(?:os error |Errno )(\d+)", str(error)))
    words = (number for number in _REASONS if os.strerror(number) in str(error))
    return next((_REASONS[number] for number in (*numbers, *words) if number in _REASONS), None)


def _is_below(name: str | bytes, folder: Path) -> bool:
    """Return whether a file is below a folder; both may be relative to the working directory."""
    return Path(os.fsdecode(name)).resolve().is_relative_to(folder.resolve())


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` atomically."""
    with atomic_path(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write `value` to `path` as indented JSON, atomically.

    NaN is refused with ValueError, because JSON has none.
    """
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Return the content of a JSON file of clintune; DataError where it is damaged or missing."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"{path}: is missing; restore it, or start anew") from error
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{path}: is damaged, no JSON any more; restore it, or start anew"
        ) from error


def write_sealed(path: Path, value: dict[str, Any]) -> None:
    """Write `value` and its checksum to `path` as JSON, atomically."""
    write_json(path, {**value, _SEAL: value_sha256(value)})


def read_sealed(path: Path) -> dict[str, Any] | None:
    """Return what `write_sealed` wrote; None where the file is missing or holds something else."""
    try:
        value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return value if value.pop(_SEAL) == value_sha256(value) else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def value_sha256(value: Any) -> str:
    """Return the SHA-256 of a JSON-able value; the order of keys does not matter."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def file_signature(paths: Iterable[Path]) -> list[Stamp]:
    """Return the state of each file; it changes whenever one of the files does.

    It holds the time of change, too: nobody can set that back, as `rsync -t` and a restore do with
    the time of modification.
    """
    stats = ((path, path.stat()) for path in sorted(paths))
    return [
        (str(path), stat.st_size, stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns)
        for path, stat in stats
    ]


def _flush(path: Path) -> None:
    if path.is_dir():
        for child in path.rglob("*"):
            _flush_one(child)
    _flush_one(path)


def _flush_one(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
