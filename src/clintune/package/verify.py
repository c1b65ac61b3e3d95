"""Check of the classes of a package: only those of clintune and of trusted modules are imported."""

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
"""The module and the base of the classes of each section."""
_CLASS = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", re.ASCII)
_LONGEST = 200


def check_classes(folder: Path, composition: Mapping[str, Any], trusted: Sequence[str]) -> None:
    """Raise PackageError unless each `_target_` is a modality or task of a trusted module.

    Any other callable is a stranger's code. Only modules of clintune and of `trusted` are imported.
    """
    for section, (module, base) in _OWN.items():
        for part in composition[section].values():
            # It is the name of a class.
            target = part.get("_target_")
            is_short = isinstance(target, str) and len(target) <= _LONGEST
            if not is_short or not _CLASS.fullmatch(target):
                shown = visible(target)[:_LONGEST]
                raise PackageError(
                    f"{folder}: _target_ {shown} names no class; do not use the package"
                )

            # The class stands in a trusted module.
            home, _, name = target.rpartition(".")
            if not any(home == root or home.startswith(f"{root}.") for root in (module, *trusted)):
                raise PackageError(
                    f"{folder}: _target_ {target} is of no trusted module; {_to_trust(home)}"
                )

            # It is a modality or task.
            try:
                found = getattr(import_module(home), name, None)
            except ImportError as error:
                raise PackageError(
                    f"{folder}: _target_ {target}: {home} cannot be imported; install it"
                ) from error
            if not (isinstance(found, type) and issubclass(found, base)):
                raise PackageError(
                    f"{folder}: _target_ {target} is no {base.__name__.lower()}; "
                    "do not use the package"
                )


def _to_trust(home: str) -> str:
    """Return what the user adds to a command, or a call, to trust a module."""
    module = home.partition(".")[0]
    return (
        f"if you trust it, add trusted=[{module}] to predict, --trust {module} to export, "
        f'or trusted=["{module}"] to load'
    )
