"""Where `configs/` and `recipes/` are: at the top of a checkout, inside the package in a wheel."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]


def config_root() -> Path:
    """Return the folder that holds `configs/` and `recipes/`, for a checkout, an editable install and a wheel."""
    inside = _PACKAGE / "_config"
    return inside if inside.is_dir() else _PACKAGE.parents[1]
