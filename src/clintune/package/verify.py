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


def check_classes(
    folder: Path, composition: Mapping[str, Any], trusted: str | Sequence[str]
) -> None:
    """Raise PackageError unless each `_target_` is a modality or task of a trusted module.

    Any other callable is a stranger's code. Only modules of clintune and of `trusted` are imported;
    a text is the name of one module.
    """
    roots = (trusted,) if isinstance(trusted, str) else tuple(trusted)
    parts = [(section, part) for section in _OWN for part in composition[section].values()]
    classes = [(section, _class_named(folder, part.get("_target_"))) for section, part in parts]

    # All classes stand in trusted modules; nothing is imported before.
    strangers = [
        target for section, target in classes if not _is_below(target, (_OWN[section][0], *roots))
    ]
    if strangers:
        raise PackageError(
            f"{folder}: _target_ {', '.join(strangers)} is of no trusted module; "
            f"{_to_trust(strangers)}"
        )

    for section, target in classes:
        _check_base(folder, target, _OWN[section][1])


def _class_named(folder: Path, target: Any) -> str:
    """Return a `_target_`; PackageError for one that is not the name of a class."""
    if isinstance(target, str) and len(target) <= _LONGEST and _CLASS.fullmatch(target):
        return target
    shown = visible(target)[:_LONGEST]
    raise PackageError(f"{folder}: _target_ {shown} names no class; do not use the package")


def _is_below(target: str, roots: Sequence[str]) -> bool:
    """Return whether the module of a class is one of `roots`, or stands in one of them."""
    home = target.rpartition(".")[0]
    return any(home == root or home.startswith(f"{root}.") for root in roots)


def _check_base(folder: Path, target: str, base: type) -> None:
    """Raise PackageError where a class cannot be imported, or does not derive from `base`."""
    home, _, name = target.rpartition(".")
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


def _to_trust(targets: Sequence[str]) -> str:
    """Return what the user adds to a command, or a call, to trust the modules of some classes."""
    modules = sorted({target.partition(".")[0] for target in targets})
    listed, options = ",".join(modules), " ".join(f"--trust {module}" for module in modules)
    quoted = ", ".join(f'"{module}"' for module in modules)
    what = "it" if len(modules) == 1 else "them"
    return (
        f"if you trust {what}, add trusted=[{listed}] to predict, {options} to export, "
        f"or trusted=[{quoted}] to load"
    )
