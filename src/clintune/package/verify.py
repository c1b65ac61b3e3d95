"""Trust nothing that arrives: no class is a stranger's, no tensor but the model's own."""

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from clintune.core.errors import PackageError
from clintune.modalities.base import Modality
from clintune.tasks.base import Task

_OWN = {"modalities": ("clintune.modalities", Modality), "tasks": ("clintune.tasks", Task)}
"""Where the classes of a section may come from, and what they must be."""


def check_classes(folder: Path, composition: Mapping[str, Any], trusted: Sequence[str]) -> None:
    """Refuse a `_target_` that is no modality or task of clintune or of a trusted module: a callable is code.

    Nothing is imported but modules of clintune and trusted ones. Raises PackageError.
    """
    for section, (module, base) in _OWN.items():
        for part in composition[section].values():
            target = str(part.get("_target_") if isinstance(part, dict) else None)
            home, _, name = target.rpartition(".")
            if not any(home == root or home.startswith(f"{root}.") for root in (module, *trusted)):
                raise PackageError(
                    f"{folder}: _target_ {target} is of no trusted module; name its module if you trust it"
                )
            try:
                found = getattr(import_module(home), name, None)
            except ImportError as error:
                raise PackageError(f"{folder}: _target_ {target}: {home} cannot be imported; install it") from error
            if not (isinstance(found, type) and issubclass(found, base)):
                raise PackageError(f"{folder}: _target_ {target} is no {base.__name__.lower()}; do not use the package")
    for path in _targets(composition):
        if len(path) != 3 or path[0] not in _OWN:
            raise PackageError(f"{folder}: _target_ at {'.'.join(path[:-1])}, where no class belongs; do not use it")


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file; PackageError where it is missing or none."""
    if not path.is_file():
        raise PackageError(f"{path}: is missing; fetch the package again")
    try:
        return load_file(path)
    except SafetensorError as error:
        raise PackageError(f"{path}: not a safetensors file; do not use the package") from error


def check_tensors(path: Path, found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Raise PackageError where names or shapes differ from what the model expects."""
    wrong = sorted(found.keys() ^ expected.keys())
    wrong += sorted(name for name in found.keys() & expected.keys() if found[name].shape != expected[name].shape)
    if not wrong:
        return
    name = wrong[0]
    kind = "is missing" if name not in found else "has another shape" if name in expected else "is none of the model's"
    raise PackageError(f"{path}: {len(wrong)} tensors do not fit, as {name}, which {kind}; fetch the package again")


def _targets(node: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Return where in a composition there is a `_target_`, however deep."""
    if not isinstance(node, dict | list):
        return []
    pairs = node.items() if isinstance(node, dict) else enumerate(node)
    here = [(*path, "_target_")] if isinstance(node, dict) and "_target_" in node else []
    return here + [found for key, value in pairs for found in _targets(value, (*path, str(key)))]
