"""Errors that quote a stranger's package, cut to a length that people read."""

from clintune.core.text import visible

_LONGEST = 1000
"""The longest line of an error, in characters."""
_END = 200
"""The characters of the end that a cut line keeps."""


def in_short(text: object) -> str:
    """Return text as `visible` does; a very long line loses its middle.

    The end of an error, which is its remedy, stays.
    """
    line = visible(text)
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - _END]} ... {line[-_END:]}"
