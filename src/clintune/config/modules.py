"""Modules beside a recipe: `_target_` may name a class of a file in its folder.

This holds in training and ever after.
"""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf


def find_modules(config: DictConfig, folder: Path) -> str | None:
    """Return the folder of a recipe if a `_target_` or analysis names a module there; else None."""
    return beside([*_targets(OmegaConf.to_container(config)), *(config.evaluation or [])], folder)


def beside(named: Iterable[str], folder: Path) -> str | None:
    """Return a folder if one of some dotted names is of a module there; else None."""
    tops = {name.partition(".")[0] for name in named}
    files = (path for top in tops for path in (folder / f"{top}.py", folder / top / "__init__.py"))
    return str(folder.resolve()) if any(path.is_file() for path in files) else None


def use_modules(folder: str | None) -> None:
    """Add the folder of a recipe to the path on which Python finds modules.

    It comes last, so that it hides no installed module.
    """
    if folder is not None and folder not in sys.path:
        sys.path.append(folder)


def _targets(node: Any) -> Iterator[str]:
    """Yield every `_target_`, however deep."""
    if isinstance(node, dict):
        if isinstance(target := node.get("_target_"), str):
            yield target
        for value in node.values():
            yield from _targets(value)
    elif isinstance(node, list):
        for value in node:
            yield from _targets(value)
