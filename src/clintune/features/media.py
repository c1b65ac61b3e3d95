"""Which media files have changed: stamps for every start, content hashes computed once and remembered."""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from clintune.cohort.mirror import fetch_media
from clintune.core.files import file_sha256, read_sealed, value_sha256, write_sealed
from clintune.core.locks import exclusive_lock

Stamp = tuple[tuple[str, int, int], ...]
"""Path, size and modification time in ns of each file that a media path stands for; empty where there is none."""

_THREADS = 16


def stamps(paths: Iterable[Path], files: Callable[[Path], list[Path]]) -> dict[Path, Stamp]:
    """Return the stamp of each path; `files` says which files it stands for."""
    listed = list(dict.fromkeys(paths))
    fetch_media(listed)  # those of a remote cohort
    with ThreadPoolExecutor(_THREADS) as pool:
        return dict(
            zip(listed, pool.map(lambda path: _file_signature(files(path)), listed), strict=True)
        )


def remembered_sha256(stamped: Iterable[Stamp], memory: Path) -> dict[Stamp, str]:
    """Return a hash of the content of each stamped media path; files are read where `memory` (JSON) lacks them.

    What names a file does not count, but for the members of a record. A path without a file hashes as nothing. A
    memory that is not as it was written is made again.
    """
    stamped = list(stamped)
    wanted = {file for file_signature in stamped for file in file_signature}

    with exclusive_lock(memory, "hashes of media files"):
        written = read_sealed(memory) or {}
        known = {(path, *touched): digest for path, (touched, digest) in written.items()}
        missing = sorted(wanted - known.keys())
        if missing:
            with ThreadPoolExecutor(_THREADS) as pool:
                hashes = pool.map(lambda file: file_sha256(Path(file[0])), missing)
                new = dict(zip(missing, hashes, strict=True))
            known |= new
            listed = {path: [touched, digest] for (path, *touched), digest in new.items()}
            write_sealed(memory, written | listed)
    return {file_signature: _content(file_signature, known) for file_signature in stamped}


def _content(file_signature: Stamp, known: dict[tuple[str, int, int], str]) -> str:
    if len(file_signature) == 1:
        return known[file_signature[0]]
    return value_sha256([(Path(file[0]).name, known[file]) for file in file_signature])


def _file_signature(files: list[Path]) -> Stamp:
    found = []
    for file in files:
        try:
            stat = file.stat()
        except OSError:
            continue
        if file.is_file() and os.access(
            file, os.R_OK
        ):  # else the modality says that there is none to read
            found.append((str(file), stat.st_size, stat.st_mtime_ns))
    return tuple(found)
