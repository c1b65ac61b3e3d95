"""A package's description without the paths of the machine that trained it."""

from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from clintune.package.contents import ABOUT


def read_about(package: Path) -> dict[str, Any]:
    """Read clintune.yaml; a folder that weights came from is its name alone: `sources` says where it is elsewhere."""
    about: Any = OmegaConf.to_container(OmegaConf.load(package / ABOUT))
    return {**about, **{section: _without_paths(about[section]) for section in ("composition", "weights")}}


def _without_paths(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_paths(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_without_paths(part) for part in value]
    return Path(value).name if isinstance(value, str) and value.startswith(("/", "~")) else value
