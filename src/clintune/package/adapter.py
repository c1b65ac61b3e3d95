"""Check of the adapter's description (adapter_config.json) against the adapter that is built."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from peft import PeftConfig

from clintune.core.errors import PackageError
from clintune.package.origin import Origin
from clintune.package.plain import read_json
from clintune.package.short_text import in_short

ADAPTER_CONFIG = "adapter_config.json"
_OF_THE_WRITER = frozenset(
    {"base_model_name_or_path", "revision", "peft_version", "inference_mode"}
)
"""Keys that say where and with what the adapter was written, not what it is."""


def check_adapter_config(folder: Path, built: PeftConfig, origin: Origin) -> None:
    """Raise PackageError unless the description fits the adapter `built` from the composition.

    Other tools read the description: it must not name another base, rank or target than clintune
    uses.
    """
    path = folder / ADAPTER_CONFIG
    if not path.is_file():
        raise PackageError(f"{path}: is missing; fetch the package again")
    said = read_json(path)
    if not isinstance(said, dict):
        raise PackageError(f"{path}: is no description of an adapter; do not use the package")

    # No key may say something else.
    expected = _plain(built.to_dict())
    for key, value in said.items():
        if key in _OF_THE_WRITER:
            continue
        # A key of another version of PEFT says nothing where it is empty.
        wrong = _plain(value) != expected[key] if key in expected else bool(value)
        if wrong:
            raise PackageError(
                in_short(
                    f"{path}: {key[:200]} is not that of the composition; do not use the package"
                )
            )

    # A missing key means its default.
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
    is_named = isinstance(base, str | None) and base in names
    if not is_named or said.get("revision") not in (None, origin.revision):
        raise PackageError(
            in_short(f"{path}: names another base than clintune.yaml; do not use it")
        )


def _plain(value: Any) -> Any:
    """Return a value as JSON would hold it; lists and sets are sorted."""
    if isinstance(value, dict):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return sorted(map(str, value))
    return value.value if hasattr(value, "value") else value
