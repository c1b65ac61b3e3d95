"""Read a recipe file; errors of its text, YAML or defaults list name the line and the cause."""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import yaml
from omegaconf._utils import get_yaml_loader

from clintune.config.places import config_root
from clintune.config.schema import Config, entry_of
from clintune.config.suggest import nearest
from clintune.core.errors import ConfigError
from clintune.core.text import visible

_STARTS = ("base", "schema")
"""How a defaults list begins: with all choices of `base`, or with the schema alone."""
_LISTED = {
    "cohort": "- cohort: [NAME]",
    "modality": "- modality: [NAME]",
    "task": "- task@tasks.NAME: KIND",
}
"""Groups that a recipe chooses itself, and how; all others have a choice in `base` already."""
_RESOLVED = {"cohorts", "modalities", "tasks", "backbone", "trainer"}
"""Sections that, without a defaults list, tell that a config was composed already."""


def read_recipe(path: Path) -> str:
    """Return the text of a recipe: YAML with a defaults list in which no entry undoes another.

    Raises ConfigError for a file that cannot be read, with the line if there is one.
    """
    text = _read_text(path)
    problem = next(_problems(_parse(text, path.name)), None)
    if problem is not None:
        raise ConfigError(f"{path.name}: {problem}")
    return text


def defaults_of(text: str) -> list[Any]:
    """Return the defaults list of a recipe that `read_recipe` accepted."""
    defaults: list[Any] = yaml.load(text, Loader=get_yaml_loader())["defaults"]
    return defaults


def groups() -> dict[str, list[str]]:
    """Return the choices of each config group, by its name."""
    folders = sorted(path for path in (config_root() / "configs").iterdir() if path.is_dir())
    return {folder.name: _choices_in(folder) for folder in folders}


def _choices_in(folder: Path) -> list[str]:
    return sorted(file.stem for file in folder.glob("*.yaml"))


def _read_text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be read ({error.strerror}); correct its permissions"
        ) from error

    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            f"{path.name}: line {line} is not UTF-8; save the file in that encoding"
        ) from error


def _parse(text: str, name: str) -> Any:
    try:
        return yaml.load(text, Loader=get_yaml_loader())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f"line {mark.line + 1}: " if mark else ""
        has_tab = "'\\t'" in str(error.problem)
        remedy = "indent with spaces, not tabs" if has_tab else "correct the YAML there"
        raise ConfigError(
            f"{name}: {line}{visible(error.problem or error.context)}; {remedy}"
        ) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        unknown = "it holds a value, or lists within lists, that cannot be read"
        reason = getattr(error, "reason", unknown)
        raise ConfigError(f"{name}: not YAML: {visible(reason)}; correct it") from error


def _problems(recipe: Any) -> Iterator[str]:
    """Yield what is wrong with a recipe by itself, before it is composed."""
    begin = (
        "begin it with `defaults:` and, indented below, `- base`; "
        "`clintune recipes` lists some to copy"
    )
    if recipe is None:
        yield f"is empty; {begin}"
        return
    if not isinstance(recipe, dict):
        yield f"is no mapping of keys; {begin}"
        return
    if "defaults" not in recipe and recipe.keys() >= _RESOLVED:
        yield (
            "is the recipe of a run as it was resolved; go on with the run "
            "(clintune train --resume RUN), or use the recipe that it was made of"
        )
        return
    if not isinstance(recipe.get("defaults"), list):
        yield f"has no list `defaults`; {begin}"
        return

    yield from _order(recipe["defaults"])
    yield from _choices(recipe)
    yield from _shape(Config, recipe)


def _order(defaults: list[Any]) -> Iterator[str]:
    """Yield what is wrong with the order of a defaults list, in which a later entry wins."""
    if not any(start in defaults for start in _STARTS):
        yield "its defaults lack `base`; begin the list with `- base`"
        return

    named = [_named(entry) for entry in defaults]
    is_override = [name.startswith("override ") for name in named]
    if named[0] not in _STARTS:
        yield (
            f"`{named[0]}` stands before `base`, which would overwrite it; "
            "begin the defaults list with `- base`"
        )

    # After `_self_`, the recipe itself, nothing but overrides may stand.
    own = named.index("_self_") if "_self_" in named else len(named)
    after_self = zip(named[own + 1 :], is_override[own + 1 :], strict=True)
    later = [name for name, override in after_self if not override]
    if later:
        yield (
            f"`_self_` stands before `{later[0]}`, which would overwrite what the recipe says; "
            "move it to the end"
        )

    # Overrides stand after all plain entries.
    entries = list(zip(named, is_override, strict=True))
    plain = [i for i, (name, override) in enumerate(entries) if not override and name != "_self_"]
    early = [name for name, override in entries[: max(plain)] if override]
    if early:
        yield (
            f"`{early[0]}` stands before a plain entry of the defaults; move overrides to their end"
        )


def _named(entry: Any) -> str:
    """Return the name of an entry of a defaults list, without its choice."""
    return str(next(iter(entry), "")) if isinstance(entry, dict) else str(entry)


def _choices(recipe: dict[Any, Any]) -> Iterator[str]:
    """Yield each group that is chosen outside the defaults, and each second choice of `base`."""
    known = groups()
    for key, value in recipe.items():
        names = value if isinstance(value, list) else [value]
        if key in known and names and all(isinstance(name, str) for name in names):
            wanted = _LISTED.get(key, f"- override /{key}: {value}")
            yield f"'{key}: {value}' stands outside the defaults; choose it there: {wanted}"

    for entry in recipe["defaults"]:
        yield from _place_of_task(entry)
        if (group := _named(entry).lstrip("/")) in known.keys() - _LISTED.keys():
            yield (
                f"the defaults choose {group}, which `base` does already; "
                f"write - override /{group}: {entry[group]}"
            )


def _place_of_task(entry: Any) -> Iterator[str]:
    """Yield a problem if an entry chooses a kind of task, but no place for it below `tasks`."""
    name = _named(entry)
    group, _, place = name.lstrip("/").partition("@")
    if isinstance(entry, dict) and group == "task" and not place.startswith(("tasks.", "_")):
        yield (
            f"`{name}: {entry[name]}` names no task; "
            f"write - task@tasks.{place or 'NAME'}: {entry[name]}"
        )


def _shape(kind: Any, node: dict[Any, Any], path: str = "") -> Iterator[str]:
    """Yield a problem for each section that is no mapping, and each name that is no YAML text."""
    for item in fields(kind):
        is_section = is_dataclass(item.type) or entry_of(item.type) is not None
        if item.name not in node or not is_section:
            continue

        value, where = node[item.name], f"{path}{item.name}"
        if not isinstance(value, dict):
            yield (
                f"'{where}' is {'empty' if value is None else repr(value)}; "
                "give its keys, indented below, or drop it"
            )
        elif is_dataclass(item.type):
            yield from _shape(item.type, value, f"{where}.")
        else:
            yield from _shape_of_entries(entry_of(item.type), value, where)


def _shape_of_entries(entry: Any, named: dict[Any, Any], path: str) -> Iterator[str]:
    """Yield a problem for each name that is no text, and each entry without its name or keys."""
    for name, value in named.items():
        if not isinstance(name, str):
            yield (
                f"'{path}': YAML reads the name {name!r} as {type(name).__name__}; "
                "write it in quotes"
            )
            continue

        # Other entries have the keys of a class, which are checked later.
        if not is_dataclass(entry):
            continue
        if _is_key(entry, name, value):
            yield (
                f"'{path}.{name}' lacks a name between; "
                f"write {path}.NAME.{name}, each of its keys below its name"
            )
        elif isinstance(value, dict):
            yield from _shape(entry, value, f"{path}.{name}.")
        else:
            yield f"'{path}.{name}' is {value!r}; give its keys, indented below"


def _is_key(entry: Any, name: str, value: Any) -> bool:
    """Return whether a name is the key of an entry, so that the entry's own name is missing."""
    keys = {item.name for item in fields(entry)}
    return name in keys and not (isinstance(value, dict) and value.keys() & keys)


def unknown_choice(group: str, choice: str) -> str:
    """Say that a group has no such choice, or that there is no such group.

    The message names the nearest choice, or the known ones.
    """
    known = groups()
    if not group:
        return f"'{choice}' in the defaults does not exist{nearest(choice, [*_STARTS, *known])}"
    if group not in known:
        return f"'{group}' is not a group of choices{nearest(group, known)}"
    remedy = "; the path of a folder needs a slash, as ./NAME" if group == "cohort" else ""
    return f"'{choice}' is not a choice of {group}{nearest(choice, known[group])}{remedy}"
