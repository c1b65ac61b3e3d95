"""Names that strangers chose, made harmless before a person, a terminal or a page sees them."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

_FEW = 3
_LONGEST = 1000
"""The longest line of an error, in characters."""
_END = 200
"""The characters of the end that a cut line keeps."""
_OF_MARKDOWN = frozenset("\\`*_{}[]#+!|~$&<>")


def visible(text: object) -> str:
    """Return text on one line in which each character shows; hidden ones are written as `\\x1b`.

    Controls, direction marks, line ends and all spaces except the common one are hidden. So a
    terminal obeys nothing that stands in the text, and no word can hide or turn round.
    """
    return "".join(c if c.isprintable() else _escaped(c) for c in str(text))


def in_short(text: object) -> str:
    """Return text as `visible` does; a very long line loses its middle.

    The end of an error, which is its remedy, stays.
    """
    line = visible(text)
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - _END]} ... {line[-_END:]}"


def markdown(text: object) -> str:
    """Escape text so that Markdown, and HTML within it, shows exactly this text.

    The text stays in its cell of a table.
    """
    return "".join(f"&#{ord(c)};" if c in _OF_MARKDOWN else c for c in visible(text))


def first_few(names: Sequence[str], number: int | None = None) -> str:
    """Return the first names of several, made visible, and `...` where others are left out.

    `number` is the number of all names where `names` holds only some of them.
    """
    shown = [visible(name) for name in names[:_FEW]]
    is_cut = len(shown) < (len(names) if number is None else number)
    return ", ".join([*shown, "..."] if is_cut else shown)


def full_stop(text: str) -> str:
    """Return text that ends as a sentence does, so that another may follow."""
    text = text.rstrip()
    return text if text.endswith((".", "!", "?")) else f"{text}."


def spelled_alike(names: Iterable[str]) -> list[list[str]]:
    """Return the groups of names that differ only in case or spaces, both sorted."""
    groups = defaultdict[str, set[str]](set)
    for name in names:
        groups["".join(name.split()).casefold()].add(name)
    return [sorted(group) for _, group in sorted(groups.items()) if len(group) > 1]


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
