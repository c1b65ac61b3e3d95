"""Find choices that exclude each other: two files of a group that fill one place of the config.

Hydra would let the last one win without a word.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from clintune.config.places import config_root

_HEADER = "# @package "


def clashes(defaults: Sequence[Any], words: Sequence[str] = ()) -> Iterator[str]:
    """Yield a problem for each two choices that fill one place.

    They come from a defaults list, changed by the overrides `words`.
    """
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
    """Return the choices by group, or by group and place as in `task@tasks.NAME`."""
    # The defaults list names choices first.
    chosen: dict[str, list[str]] = {}
    for entry in defaults:
        if isinstance(entry, dict):
            for key, value in entry.items():
                choices = value if isinstance(value, list) else [value]
                chosen.setdefault(str(key).lstrip("/"), []).extend(map(str, choices))

    # Overrides then add a choice (+) or replace those of a group.
    for word in words:
        key, _, value = word.partition("=")
        choices = [choice.strip(" '\"") for choice in value.strip("[]").split(",")]
        if key.startswith("+"):
            chosen.setdefault(key.lstrip("+/"), []).extend(choices)
        elif key in chosen:
            chosen[key] = choices
    return chosen


def _place(group: str, choice: str) -> str | None:
    """Return the place in the config that the file of a choice names; None if it names none."""
    file = config_root() / "configs" / group / f"{choice}.yaml"
    try:
        begin = file.read_text(encoding="utf-8").partition("\n")[0]
    except (OSError, ValueError):  # there is no such choice; Hydra says so
        return None
    return begin.removeprefix(_HEADER).strip() if begin.startswith(_HEADER) else None
