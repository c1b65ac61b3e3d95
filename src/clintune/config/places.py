"""Where clintune's own configs and recipes are, and where the cache and raw data are by default."""

import os
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]


def config_root() -> Path:
    """Return the folder that holds `configs/` and `recipes/`.

    It is the top of a checkout, or stands inside the package in a wheel.
    """
    inside = _PACKAGE / "_config"
    return inside if inside.is_dir() else _PACKAGE.parents[1]


def default_cache() -> str:
    """Return the folder of what is computed once: CLINTUNE_CACHE, or one in the home."""
    return os.environ.get("CLINTUNE_CACHE", "~/.cache/clintune")


def default_raw() -> str:
    """Return the folder that holds raw files of public data: CLINTUNE_DATA, or `data`."""
    return os.environ.get("CLINTUNE_DATA", "data")
