"""Checksums of an index, against damaged bytes, and of a cohort's tables, against missed changes.

A file is read again only when the file system says that it was touched: by its size, its inode, or
its times of modification and of change. Nobody can set the last one back, as `rsync -t` and a
restore do with the time of modification.
"""

import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from clintune.core.files import (
    Stamp,
    file_sha256,
    file_signature,
    read_sealed,
    value_sha256,
    write_sealed,
)
from clintune.core.locks import exclusive_lock

INDEX = "index.json"
_THREADS = 8
_RESTLESS_NS = 2_000_000_000
"""A file touched within this time is not remembered.

It could change once more within one tick of the disk's clock.
"""
_intact: dict[Path, list[Stamp]] = {}
"""The indexes that this process found intact, each with the signature of its files at that time."""


def seal(folder: Path, about: dict[str, Any]) -> None:
    """Write `index.json`: what is known `about` an index, checksums of its files, and its own."""
    paths = sorted(path for path in folder.iterdir() if path.is_file())
    files = {path.name: digest for path, digest in _hashes(paths).items()}
    write_sealed(folder / INDEX, {**about, "files": files})


def damage(folder: Path) -> str | None:
    """Return the name of a file of an index that is not as it was written; None where all are.

    All files are read, once in a process until one of them is touched.
    """
    about = read_sealed(folder / INDEX)
    if about is None:
        return INDEX

    expected: dict[Path, str] = {folder / name: digest for name, digest in about["files"].items()}
    if missing := [path.name for path in expected if not path.is_file()]:
        return missing[0]

    standing = file_signature([folder / INDEX, *expected])
    if _intact.get(folder) != standing:
        found = _hashes(expected)
        if changed := [path.name for path in expected if found[path] != expected[path]]:
            return changed[0]
        _intact[folder] = standing
    return None


def table_hashes(root: Path, paths: Iterable[Path], cache: Path) -> dict[str, str]:
    """Return the SHA-256 of tables of the cohort at `root`, by path relative to it.

    They are remembered in `cache`.
    """
    name = f"{root.name} tables-{value_sha256(str(root))[:16]}.json"
    memory = cache.expanduser() / "media" / name
    with exclusive_lock(memory, "the checksums of a cohort's tables"):
        known = read_sealed(memory) or {}
        now = {path: touched for path, *touched in file_signature(paths)}
        new = [path for path, touched in now.items() if known.get(path, [None])[0] != touched]

        if new:
            digests = _hashes(Path(path) for path in new)
            known |= {path: [now[path], digests[Path(path)]] for path in new}

            # What may change within this tick of the clock is not remembered.
            at_rest = time.time_ns() - _RESTLESS_NS
            kept = {path: entry for path, entry in known.items() if max(entry[0][2:]) < at_rest}
            write_sealed(memory, kept)
    return {Path(path).relative_to(root).as_posix(): known[path][1] for path in now}


def _hashes(paths: Iterable[Path]) -> dict[Path, str]:
    """Return the SHA-256 of each file, many at once."""
    listed = list(paths)
    with ThreadPoolExecutor(_THREADS) as pool:
        return dict(zip(listed, pool.map(file_sha256, listed), strict=True))
