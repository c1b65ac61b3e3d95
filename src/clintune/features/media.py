"""Changes of media files: stamps are read at every start, content hashes once, and remembered."""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from clintune.cohort.mirror import fetch_media
from clintune.core.files import file_sha256, read_sealed, value_sha256, write_sealed
from clintune.core.locks import exclusive_lock

Stamp = tuple[tuple[str, int, int], ...]
"""Path, size and modification time in ns of each file of a media path; empty without a file."""

_THREADS = 16


def stamps(paths: Iterable[Path], files: Callable[[Path], list[Path]]) -> dict[Path, Stamp]:
    """Return the stamp of each path; `files` returns the files that a path stands for."""
    listed = list(dict.fromkeys(paths))
    fetch_media(listed)  # those of a remote cohort
    with ThreadPoolExecutor(_THREADS) as pool:
        signatures = pool.map(lambda path: _file_signature(files(path)), listed)
        return dict(zip(listed, signatures, strict=True))


def remembered_sha256(stamped: Iterable[Stamp], memory: Path) -> dict[Stamp, str]:
    """Return a hash of the content of each stamped media path.

    Only files that `memory` (a JSON file) lacks are read. The name of a file does not count, except
    for the files of a record. A path without files hashes as an empty record. A damaged `memory` is
    made again.
    """
    stamped = list(stamped)
    wanted = {file for file_signature in stamped for file in file_signature}

    with exclusive_lock(memory, "hashes of media files"):
        written = read_sealed(memory) or {}
        known = {(path, *touched): digest for path, (touched, digest) in written.items()}

        # Read only files that are new or were touched.
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
        # A file that cannot be read has no stamp: the modality then says that there is none.
        if file.is_file() and os.access(file, os.R_OK):
            found.append((str(file), stat.st_size, stat.st_mtime_ns))
    return tuple(found)
