"""WFDB records: a header names the signal files of its record, or the headers of its segments."""

from pathlib import Path, PurePosixPath

HEADER = ".hea"
_NOTHING = "~"
"""The mark for a gap between segments, and for the signals of a layout."""


def names_in(header: Path) -> list[str]:
    """Return the files that a header names, each once, relative to its folder.

    A segment stands for its header. There are none where the header cannot be read.
    """
    try:
        lines = header.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []

    lines = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
    first = [line.split()[0] for line in lines]
    if not first:
        return []

    record, *parts = first
    ending = HEADER if "/" in record else ""
    return list(dict.fromkeys(f"{part}{ending}" for part in parts if part != _NOTHING))


def is_beside(name: str) -> bool:
    """Return whether a name in a header is that of a file in its folder, or below it."""
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts


def record_files(header: Path) -> list[Path]:
    """Return the header and all files that it and the headers of its segments name.

    Files outside the header's folder are left out; files that are missing are not.
    """
    files, known = [header], {header}
    for file in files:  # the list grows during the loop
        if file.suffix == HEADER:
            named = [file.parent / name for name in names_in(file) if is_beside(name)]
            files += [path for path in named if path not in known]
            known.update(named)
    return files
