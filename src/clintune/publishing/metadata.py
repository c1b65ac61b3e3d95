"""A package's description without the paths of the machine that trained it."""

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from clintune.package.contents import ABOUT

_PATHS = ("/", "~", "./", "../", "file:")
"""What a path begins with, whatever it is the path of."""


def read_about(package: Path) -> dict[str, Any]:
    """Read clintune.yaml; of a folder that weights came from, keep the name alone.

    `sources` says where such a folder is elsewhere.
    """
    about: Any = OmegaConf.to_container(OmegaConf.load(package / ABOUT))
    folders = {folder for record in about["weights"].values() for folder in _folders(record)}
    sections = ("composition", "weights")
    return {**about, **{name: _without_paths(about[name], folders) for name in sections}}


def _folders(record: Mapping[str, Any]) -> Iterator[str]:
    """Yield the local folders that weights and their tokenizer came from.

    What a hub gave has a revision.
    """
    source = record.get("source")
    if source is not None and record.get("revision") is None and not source.startswith("bundled:"):
        yield source
    if "tokenizer" in record:
        yield from _folders(record["tokenizer"])


def _without_paths(value: Any, folders: Collection[str] = ()) -> Any:
    if isinstance(value, dict):
        return {key: _without_paths(part, folders) for key, part in value.items()}
    if isinstance(value, list):
        return [_without_paths(part, folders) for part in value]
    is_path = isinstance(value, str) and (value in folders or value.startswith(_PATHS))
    return Path(value).name if is_path else value
