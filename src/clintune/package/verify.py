"""Trust no class that arrives: only those of clintune, and of modules that the user names, are imported or built."""

import re
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from clintune.core.errors import PackageError
from clintune.core.text import visible
from clintune.modalities.base import Modality
from clintune.tasks.base import Task

_OWN = {"modalities": ("clintune.modalities", Modality), "tasks": ("clintune.tasks", Task)}
"""Where the classes of a section may come from, and what they must be."""
_CLASS = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", re.ASCII)
_LONGEST = 200


def check_classes(folder: Path, composition: Mapping[str, Any], trusted: Sequence[str]) -> None:
    """Refuse a `_target_` that is no modality or task of clintune or of a trusted module: a callable is code.

    Nothing is imported but modules of clintune and trusted ones. Raises PackageError.
    """
    for section, (module, base) in _OWN.items():
        for part in composition[section].values():
            target = part.get("_target_")
            if (
                not isinstance(target, str)
                or len(target) > _LONGEST
                or not _CLASS.fullmatch(target)
            ):
                shown = visible(target)[:_LONGEST]
                raise PackageError(
                    f"{folder}: _target_ {shown} names no class; do not use the package"
                )
            home, _, name = target.rpartition(".")
            if not any(home == root or home.startswith(f"{root}.") for root in (module, *trusted)):
                raise PackageError(
                    f"{folder}: _target_ {target} is of no trusted module; {_to_trust(home)}"
                )

            try:
                found = getattr(import_module(home), name, None)
            except ImportError as error:
                raise PackageError(
                    f"{folder}: _target_ {target}: {home} cannot be imported; install it"
                ) from error
            if not (isinstance(found, type) and issubclass(found, base)):
                raise PackageError(
                    f"{folder}: _target_ {target} is no {base.__name__.lower()}; do not use the package"
                )


def _to_trust(home: str) -> str:
    """Return what to add where, for a module that the user trusts."""
    module = home.partition(".")[0]
    return (
        f"if you trust it, add trusted=[{module}] to predict, --trust {module} to export, "
        f'or trusted=["{module}"] to load'
    )
