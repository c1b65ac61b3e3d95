"""What a WFDB header stands for: it names the signal files of its record, or the headers of its segments."""

from pathlib import Path, PurePosixPath

HEADER = ".hea"
_NOTHING = "~"
"""What stands for a gap between segments, and for the signals of a layout."""


def names_in(header: Path) -> list[str]:
    """Return the files that a header names, each once, relative to its folder; none where it cannot be read.

    A segment stands for its header.
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
    """Return whether what a header names stands in its folder, or below."""
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts


def record_files(header: Path) -> list[Path]:
    """Return the header and all files that it and the headers of its segments name beside it, there or not."""
    files, known = [header], {header}
    for file in files:  # which grows under way
        if file.suffix == HEADER:
            named = [file.parent / name for name in names_in(file) if is_beside(name)]
            files += [path for path in named if path not in known]
            known.update(named)
    return files
