"""Folders: where `configs/` and `recipes/` are, and those that results are written to."""

from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryFile

from clintune.core.errors import ConfigError

_PACKAGE = Path(__file__).resolve().parents[1]


def config_root() -> Path:
    """Return the folder that holds `configs/` and `recipes/`: the top of a checkout, inside the package in a wheel."""
    inside = _PACKAGE / "_config"
    return inside if inside.is_dir() else _PACKAGE.parents[1]


def writable_folder(path: str, key: str) -> Path:
    """Make the folder that `key` of the config names, with its parents; ConfigError where nothing can be written."""
    folder = Path(path).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        TemporaryFile(dir=folder).close()
    except OSError as error:
        raise ConfigError(f"{key}: {folder} cannot be written to ({error.strerror}); name another folder") from error
    return folder


def timed_folder(parent: Path) -> Path:
    """Make a folder named by the time in UTC; a second one within a second waits its turn as -1, -2, ..."""
    parent.mkdir(parents=True, exist_ok=True)
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    number = 0
    while True:
        folder = parent / (f"{stamp}-{number}" if number else stamp)
        try:
            folder.mkdir()
        except FileExistsError:
            number += 1
        else:
            return folder
