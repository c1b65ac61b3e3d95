"""Which media files have changed: stamps for every start, content hashes computed once and remembered."""

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import polars as pl

from clintune.cohort.mirror import fetch_media
from clintune.core.files import atomic_path, file_sha256, value_sha256
from clintune.core.locks import only_one

Stamp = tuple[tuple[str, int, int], ...]
"""Path, size and modification time in ns of each file that a media path stands for; empty where there is none."""

_THREADS = 16
_COLUMNS = {"path": pl.String, "size": pl.Int64, "modified": pl.Int64, "sha256": pl.String}


def stamps(paths: Iterable[Path]) -> dict[Path, Stamp]:
    """Return the stamp of each path; a WFDB header stands for all files of its record."""
    listed = list(dict.fromkeys(paths))
    fetch_media(listed)  # those of a remote cohort
    records = _records({path.parent for path in listed if path.suffix == ".hea"})
    with ThreadPoolExecutor(_THREADS) as pool:
        return dict(zip(listed, pool.map(lambda path: _stamp(records.get(path, [path])), listed), strict=True))


def remembered_sha256(stamped: Iterable[Stamp], memory: Path) -> dict[Stamp, str]:
    """Return a hash of the content of each stamped media path; files are read where `memory` (Parquet) lacks them.

    What names a file does not count, but for the members of a record. A path without a file hashes as nothing.
    """
    stamped = list(stamped)
    wanted = {file for stamp in stamped for file in stamp}
    with only_one(memory, "hashes of media files"):
        table = pl.read_parquet(memory, glob=False) if memory.exists() else pl.DataFrame(schema=_COLUMNS)
        known = {(path, size, modified): sha256 for path, size, modified, sha256 in table.iter_rows()}
        missing = sorted(wanted - known.keys())
        if missing:
            with ThreadPoolExecutor(_THREADS) as pool:
                hashes = pool.map(lambda file: file_sha256(Path(file[0])), missing)
                new = pl.DataFrame(
                    [(*file, sha256) for file, sha256 in zip(missing, hashes, strict=True)], _COLUMNS, orient="row"
                )
            known |= {(path, size, modified): sha256 for path, size, modified, sha256 in new.iter_rows()}
            with atomic_path(memory) as partial:
                pl.concat([table, new]).unique("path", keep="last", maintain_order=True).write_parquet(partial)
    return {stamp: _content(stamp, known) for stamp in stamped}


def _content(stamp: Stamp, known: dict[tuple[str, int, int], str]) -> str:
    if len(stamp) == 1:
        return known[stamp[0]]
    return value_sha256([(Path(file[0]).name, known[file]) for file in stamp])


def _stamp(files: list[Path]) -> Stamp:
    found = []
    for file in files:
        try:
            stat = file.stat()
        except OSError:
            continue
        if file.is_file() and os.access(file, os.R_OK):  # else the modality says that there is none to read
            found.append((str(file), stat.st_size, stat.st_mtime_ns))
    return tuple(found)


def _records(folders: Iterable[Path]) -> dict[Path, list[Path]]:
    """Return the files of each WFDB record in these folders by the path of its header."""
    records: dict[Path, list[Path]] = {}
    for folder in folders:
        by_stem: dict[str, list[Path]] = {}
        for file in sorted(folder.iterdir()) if folder.is_dir() else []:
            by_stem.setdefault(file.stem, []).append(file)
        records |= {folder / f"{stem}.hea": files for stem, files in by_stem.items()}
    return records
