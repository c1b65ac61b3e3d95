"""The two forms of a config: nodes that OmegaConf composes, and frozen sections for the program."""

import re
from collections.abc import Mapping
from dataclasses import Field, asdict, field, fields, is_dataclass, make_dataclass
from functools import cache
from typing import Any, TypeVar

from omegaconf import DictConfig, OmegaConf

from clintune.config.schema import entry_of

Section = TypeVar("Section")

_REFERENCE = re.compile(r"(\\*)\$\{")


@cache
def editable(kind: Any) -> Any:
    """Return a section as a class whose fields can be set; OmegaConf composes no frozen class."""
    if _is_section(kind):
        items = [_editable(item, item.type) for item in fields(kind)]
        return make_dataclass(kind.__name__, items)
    entry = entry_of(kind)
    return kind if entry is None else dict[str, editable(entry)]  # type: ignore[misc]


def frozen(kind: type[Section], config: DictConfig) -> Section:
    """Return a composed config as the frozen section `kind`, references to other keys resolved.

    Raises OmegaConfBaseException for a value that is missing or cannot be resolved.
    """
    values = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    section: Section = _frozen(kind, values)
    return section


def composed(kind: type, values: Mapping[str, Any]) -> DictConfig:
    """Return plain values as a node of OmegaConf, each checked against the section `kind`.

    They were resolved before, so that a text that holds `${` is just that text. Raises
    OmegaConfBaseException for a key or value that the schema does not have.
    """
    merged = OmegaConf.merge(OmegaConf.structured(editable(kind)), _literal(values))
    assert isinstance(merged, DictConfig)
    return merged


def of_plain(kind: type[Section], values: Mapping[str, Any]) -> Section:
    """Return plain values as the section `kind`; raise what `composed` and `frozen` raise."""
    return frozen(kind, composed(kind, values))


def to_yaml(section: Any) -> str:
    """Return a section as YAML."""
    return OmegaConf.to_yaml(OmegaConf.create(_literal(asdict(section))), resolve=True)


def _literal(value: Any) -> Any:
    """Return plain values with references escaped, so that no text refers to another key."""
    if isinstance(value, Mapping):
        return {key: _literal(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_literal(part) for part in value]
    return _REFERENCE.sub(r"\1\1\\${", value) if isinstance(value, str) else value


def _editable(item: "Field[Any]", kind: Any) -> tuple[str, Any, Any]:
    """Return name, type and default of a field; a section has the type that `editable` makes."""
    made = editable(kind) if _is_section(kind) else item.default_factory
    return item.name, editable(kind), field(default=item.default, default_factory=made)


def _is_section(kind: Any) -> bool:
    return is_dataclass(kind)


def _frozen(kind: Any, value: Any) -> Any:
    """Return plain values in a type of the schema."""
    if _is_section(kind):
        return kind(**{item.name: _frozen(item.type, value[item.name]) for item in fields(kind)})
    if (entry := entry_of(kind)) is not None:
        return {name: _frozen(entry, part) for name, part in value.items()}
    return value
