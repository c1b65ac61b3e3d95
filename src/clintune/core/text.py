"""Names that strangers chose, made harmless before a person, a terminal or a page sees them."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

_FEW = 3
_LONGEST = 1000
_END = 200
"""Characters of the longest line of an error, and of its end."""
_OF_MARKDOWN = frozenset("\\`*_{}[]#+!|~$&<>")


def visible(text: object) -> str:
    """Return text on one line in which every character shows: others are written out, as in `\\x1b` or `\\u202e`.

    Controls, directions, line ends and all spaces but the common one show nothing of themselves. A terminal then obeys
    nothing that stands in the text, and no word can hide or turn round.
    """
    return "".join(c if c.isprintable() else _written_out(c) for c in str(text))


def in_short(text: object) -> str:
    """Return text as `visible` does, without its middle where it is longer than a line that anybody reads.

    What stands at the end of an error, the remedy, stays.
    """
    line = visible(text)
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - _END]} ... {line[-_END:]}"


def markdown(text: object) -> str:
    """Return text as Markdown, and the HTML within it, that shows just this text and stays in its cell of a table."""
    return "".join(f"&#{ord(c)};" if c in _OF_MARKDOWN else c for c in visible(text))


def first_few(names: Sequence[str], number: int | None = None) -> str:
    """Return the first names of several, made visible, and `...` where others are left out; `number` is that of all."""
    shown = [visible(name) for name in names[:_FEW]]
    is_cut = len(shown) < (len(names) if number is None else number)
    return ", ".join([*shown, "..."] if is_cut else shown)


def spelled_alike(names: Iterable[str]) -> list[list[str]]:
    """Return, sorted, the names that differ from others in case or spaces alone, by what they have in common."""
    groups = defaultdict[str, set[str]](set)
    for name in names:
        groups["".join(name.split()).casefold()].add(name)
    return [sorted(group) for _, group in sorted(groups.items()) if len(group) > 1]


def _written_out(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
