"""The adapter's own description (adapter_config.json), held against what the composition makes of the backbone."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from peft import PeftConfig

from clintune.core.errors import PackageError
from clintune.core.text import in_short
from clintune.package.origin import Origin
from clintune.package.plain import read_json

ADAPTER_CONFIG = "adapter_config.json"
_OF_THE_WRITER = frozenset(
    {"base_model_name_or_path", "revision", "peft_version", "inference_mode"}
)
"""Keys that say where and with what it was written, not what it is."""


def check_adapter_config(folder: Path, built: PeftConfig, origin: Origin) -> None:
    """Raise PackageError unless the adapter's description is that of the adapter `built` from the composition.

    Other tools read it: it must not say another base, rank or target than clintune uses.
    """
    path = folder / ADAPTER_CONFIG
    if not path.is_file():
        raise PackageError(f"{path}: is missing; fetch the package again")
    said = read_json(path)
    if not isinstance(said, dict):
        raise PackageError(f"{path}: is no description of an adapter; do not use the package")

    expected = _plain(built.to_dict())
    for key, value in said.items():
        if key in _OF_THE_WRITER:
            continue
        # A key that another version of PEFT has says nothing where it is empty.
        wrong = _plain(value) != expected[key] if key in expected else bool(value)
        if wrong:
            raise PackageError(
                in_short(
                    f"{path}: {key[:200]} is not that of the composition; do not use the package"
                )
            )
    default = _plain(type(built)().to_dict())
    for key in sorted(expected.keys() - said.keys() - _OF_THE_WRITER):
        if expected[key] != default.get(key):
            raise PackageError(
                f"{path}: lacks {key}, and other tools would take another; do not use the package"
            )
    _check_base(path, said, origin)


def _check_base(path: Path, said: Mapping[str, Any], origin: Origin) -> None:
    names = {None} if origin.source is None else {origin.source, Path(origin.source).name}
    base = said.get("base_model_name_or_path")
    if (
        not isinstance(base, str | None)
        or base not in names
        or said.get("revision") not in (None, origin.revision)
    ):
        raise PackageError(
            in_short(f"{path}: names another base than clintune.yaml; do not use it")
        )


def _plain(value: Any) -> Any:
    """Return a value as JSON would hold it, without an order where there is none."""
    if isinstance(value, dict):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return sorted(map(str, value))
    return value.value if hasattr(value, "value") else value
