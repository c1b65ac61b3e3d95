"""Translate what OmegaConf says of a value that does not fit its key to `'KEY' is X; give Y`."""

import re
from collections.abc import Iterator

from clintune.core.text import visible

_GIVE = {
    "Integer": "a whole number",
    "Float": "a number",
    "Boolean": "true or false",
    "String": "text",
}
_IS = {
    "AnyNode": "a single value",
    "DictConfig": "a mapping",
    "ListConfig": "a list",
    "bool": "true or false",
    "dict": "a mapping",
    "float": "a number",
    "int": "a whole number",
    "list": "a list",
    "str": "text",
}
_CONVERTED = re.compile(r"Value '(.*)' of type '.*' could not be converted to (\w+)")
_BOOL = re.compile(r"Value '(.*)' is not a valid bool \(type")
_TEXT = re.compile(r"Cannot convert '(?!\$)(\w+)' to string")
_MAPPING = re.compile(r"Cannot assign (\w+) to Dict\[")
_SECTION = re.compile(r"Invalid type assigned: \w+ is not a subclass of (\w+)\. value: (.*)")
_LIST = re.compile(r"Invalid value assigned: (\w+) is not a ListConfig")


def misfit(key: str, text: str) -> str | None:
    """Return what is wrong with the value of a key, and what would fit.

    Returns None if `text` is about something else.
    """
    return next(_said(key, text), None)


def _said(key: str, text: str) -> Iterator[str]:
    """Yield the meaning of each known message of OmegaConf in `text`."""
    # Single values and lists.
    if found := _CONVERTED.search(text):
        yield _is(key, found[1], _GIVE.get(found[2], found[2]))
    if found := _BOOL.search(text):
        yield _is(key, found[1], _GIVE["Boolean"])
    if found := _TEXT.search(text):
        yield f"'{key}' is {_kind(found[1])}; give text"
    if found := _LIST.search(text):
        yield f"'{key}' is {_kind(found[1])}; give a list, as [a,b]"

    # Mappings and sections.
    if found := _MAPPING.search(text):
        wanted = "give a mapping, as {KEY: VALUE}" if "." in key else _keys_of(key)
        yield f"'{key}' is {_kind(found[1])}; {wanted}"
    if found := _SECTION.search(text):
        wanted = f"write {key}.root={visible(found[2])}" if found[1] == "Cohort" else _keys_of(key)
        yield f"'{key}' is {visible(found[2])}; {wanted}"
    if "Cannot merge DictConfig with ListConfig" in text:
        wants_list = "reference_type=List" in text
        list_wanted = f"'{key}' is a mapping; give a list, as [a,b]"
        yield list_wanted if wants_list else f"'{key}' is a list; {_keys_of(key)}"

    # Values that are taken away, or refer to themselves.
    if "does not support deletion" in text:
        yield f"'{key}' cannot be taken away with ~; give it a value, as {key}=VALUE"
    if "Recursive interpolation detected" in text:
        yield f"'{key}' asks for itself; give the value"


def _is(key: str, value: str, wanted: str) -> str:
    return f"'{key}' is {visible(value) or 'empty'}; give {wanted}"


def _kind(name: str) -> str:
    return _IS.get(name, name)


def _keys_of(key: str) -> str:
    """Say how the keys of a section are given."""
    if key == "cohorts":
        return "give each cohort its keys, as cohorts.NAME.root=FOLDER"
    if key in ("modalities", "tasks"):
        return f"give each entry its keys, as {key}.NAME.KEY=VALUE"
    return f"give its keys, as {key}.KEY=VALUE"
