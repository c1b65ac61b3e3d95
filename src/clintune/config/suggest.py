"""Words for messages about a name that does not exist: the nearest name, or all known ones."""

import difflib
from collections.abc import Iterable

_MOST = 20


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the end of a message: `; did you mean 'x'?`, or some known names if none is near."""
    names = sorted(set(known))
    close = difflib.get_close_matches(name, names, n=1)
    if close:
        return f"; did you mean '{close[0]}'?"
    more = f" and {len(names) - _MOST} more" if len(names) > _MOST else ""
    return f"; known: {', '.join(names[:_MOST])}{more}" if names else ""


def nearest_of(name: str, known: Iterable[str]) -> str:
    """Return the known name that is most like `name`, however unlike; at least one is known."""
    return difflib.get_close_matches(name, sorted(set(known)), n=1, cutoff=0.0)[0]


def in_words(choices: Iterable[object]) -> str:
    """Return choices as `a, b or c`, written as in a recipe."""
    *others, last = ["null" if choice is None else str(choice) for choice in choices]
    return f"{', '.join(others)} or {last}" if others else last
