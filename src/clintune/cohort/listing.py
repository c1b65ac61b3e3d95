"""The files of a cohort's folders, listed without one that would be missing unnoticed."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from clintune.core.problems import Problem, raise_first

_TABLES = (".parquet", ".pq", ".parq", ".csv", ".csv.gz", ".tsv", ".feather", ".arrow", ".ipc")
"""The endings of the names of tables."""


class Listing(NamedTuple):
    """The files that were found, sorted, and what hides others."""

    files: list[Path]
    problems: list[Problem]


def list_files(folder: Path) -> Listing:
    """Return the files below a folder; there are none where there is no such folder.

    Links to folders are followed, except one that leads back to a folder in which it stands,
    because that holds nothing new. A problem is a link that leads nowhere, or a folder that cannot
    be listed: their files would be missing.
    """
    files, problems = [], []
    for found in _walk(folder, frozenset()) if folder.is_dir() else ():
        if isinstance(found, Problem):
            problems.append(found)
        else:
            files.append(found)
    return Listing(sorted(files), problems)


def list_tables(folder: Path) -> Listing:
    """Return the Parquet files below a folder; there are none where there is no such folder.

    Problems are those of `list_files`, and a table whose name does not end in `.parquet`: its rows
    would be missing.
    """
    files, problems = list_files(folder)
    what = "is not read, as its name does not end in .parquet"
    others = [path for path in files if is_other_table(path)]
    problems += [Problem(str(path), what, "write it so, or move it away") for path in others]
    return Listing([path for path in files if path.suffix == ".parquet"], problems)


def files_below(folder: Path) -> list[Path]:
    """Return the files of `list_files`; DataError for a problem."""
    files, problems = list_files(folder)
    raise_first(problems)
    return files


def tables_below(folder: Path) -> list[Path]:
    """Return the files of `list_tables`; DataError for a problem."""
    files, problems = list_tables(folder)
    raise_first(problems)
    return files


def is_other_table(path: Path) -> bool:
    """Return whether a file's name is that of a table but does not end in `.parquet`."""
    return path.suffix != ".parquet" and path.name.lower().endswith(_TABLES)


def _walk(folder: Path, above: frozenset[Path]) -> Iterator[Path | Problem]:
    """Yield the files below a folder; `above` holds the real paths of the folders it stands in."""
    # A link that leads back to a folder above would never end.
    real = folder.resolve()
    if real in above:
        return
    try:
        entries = list(folder.iterdir())
    except OSError as error:
        what = f"cannot be listed ({error.strerror})"
        yield Problem(str(folder), what, "correct its permissions")
        return

    for path in entries:
        if path.is_dir():
            yield from _walk(path, above | {real})
        elif path.is_file():
            yield path
        elif path.is_symlink():
            what = "is a link that leads nowhere"
            yield Problem(str(path), what, "mount its disk, or remove the link")
