"""Folders: where `configs/` and `recipes/` are, and those that a config names to be written to."""

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
