"""Names that strangers chose, made harmless before a person, a terminal or a page sees them."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

_FEW = 3


def visible(text: object) -> str:
    """Return text on one line in which each character shows; hidden ones are written as `\\x1b`.

    Controls, direction marks, line ends and all spaces except the common one are hidden. So a
    terminal obeys nothing that stands in the text, and no word can hide or turn round.
    """
    return "".join(c if c.isprintable() else _escaped(c) for c in str(text))


def first_few(names: Sequence[str], number: int | None = None) -> str:
    """Return the first names of several, made visible, and `...` where others are left out.

    `number` is the number of all names where `names` holds only some of them.
    """
    shown = [visible(name) for name in names[:_FEW]]
    is_cut = len(shown) < (len(names) if number is None else number)
    return ", ".join([*shown, "..."] if is_cut else shown)


def spelled_alike(names: Iterable[str]) -> list[list[str]]:
    """Return the groups of names that differ only in case or spaces, both sorted."""
    groups = defaultdict[str, set[str]](set)
    for name in names:
        groups["".join(name.split()).casefold()].add(name)
    return [sorted(group) for _, group in sorted(groups.items()) if len(group) > 1]


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
