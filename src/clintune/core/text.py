"""Names that strangers chose, made harmless before a person, a terminal or a page sees them."""

import unicodedata

_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Unicode's categories of characters that show nothing of themselves: controls, directions, line ends."""
_OF_MARKDOWN = frozenset("\\`*_{}[]()#+!|~$&<>")


def visible(text: object) -> str:
    """Return text on one line in which every character shows: others are written out, as in `\\x1b` or `\\u202e`.

    A terminal then obeys nothing that stands in it, and no word can hide or turn round.
    """
    return "".join(_written_out(c) if unicodedata.category(c) in _HIDDEN else c for c in str(text))


def markdown(text: object) -> str:
    """Return text as Markdown, and the HTML within it, that shows just this text and stays in its cell of a table."""
    return "".join(f"&#{ord(c)};" if c in _OF_MARKDOWN else c for c in visible(text))


def _written_out(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
