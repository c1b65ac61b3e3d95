"""Choices that exclude each other: two files of a group that fill one place of the config; the last would win."""

from collections.abc import Iterator, Sequence
from typing import Any

from clintune.core.paths import config_root

_HEADER = "# @package "


def clashes(defaults: Sequence[Any], words: Sequence[str] = ()) -> Iterator[str]:
    """Yield each two choices that fill one place, of a defaults list as the overrides `words` change it."""
    first: dict[str, str] = {}
    for key, choices in _chosen(defaults, words).items():
        group, _, package = key.partition("@")
        for choice in choices:
            place = package or _place(group, choice)
            if place is None:
                continue
            other = first.setdefault(place, choice)
            if other != choice:
                yield f"`{other}` and `{choice}` both fill {place}; choose one of them"


def _chosen(defaults: Sequence[Any], words: Sequence[str]) -> dict[str, list[str]]:
    """Return the choices by group, or by group and place as `task@tasks.NAME`."""
    chosen: dict[str, list[str]] = {}
    for entry in defaults:
        if isinstance(entry, dict):
            for key, value in entry.items():
                choices = value if isinstance(value, list) else [value]
                chosen.setdefault(str(key).lstrip("/"), []).extend(map(str, choices))

    for word in words:
        key, _, value = word.partition("=")
        choices = [choice.strip(" '\"") for choice in value.strip("[]").split(",")]
        if key.startswith("+"):
            chosen.setdefault(key.lstrip("+/"), []).extend(choices)
        elif key in chosen:
            chosen[key] = choices
    return chosen


def _place(group: str, choice: str) -> str | None:
    """Return the place in the config that the file of a choice says that it fills; None where it says none."""
    file = config_root() / "configs" / group / f"{choice}.yaml"
    try:
        begin = file.read_text(encoding="utf-8").partition("\n")[0]
    except (OSError, ValueError):  # there is no such choice, which Hydra says
        return None
    return begin.removeprefix(_HEADER).strip() if begin.startswith(_HEADER) else None
