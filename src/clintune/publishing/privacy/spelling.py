"""One spelling for all ways to write the same text, so that each of them is found."""

import html
import re
import unicodedata
from collections.abc import Iterator

_UNSEEN = re.compile("[\u00ad\u200b-\u200f\u2060\ufeff]")
"""Characters that show nothing and take no room: soft hyphens, joiners, marks of direction."""
_LEAST, _MOST = 8, 24
"""Digits of the shortest and the longest number whose digits are put together."""
_BETWEEN = r"[-\u2010\u2013.,/'_]"
_TIGHT = re.compile(rf"\d(?:{_BETWEEN}?\d){{{_LEAST - 1},}}")
_LOOSE = re.compile(rf"\d(?:(?:{_BETWEEN}| )?\d){{{_LEAST - 1},}}")
"""Numbers with at most one sign between two digits; the loose ones may have a space there."""


def plain(text: str) -> str:
    """Return text in one spelling.

    It has lower case, single spaces, composed letters, common digits and no HTML entities.
    """
    composed = unicodedata.normalize("NFKC", html.unescape(text))
    return " ".join(_UNSEEN.sub("", composed).lower().split())


def numbers(text: str) -> Iterator[str]:
    """Yield the long numbers of a text by their digits alone: `55310097` for `55-31-00-97`."""
    for pattern in (_TIGHT, _LOOSE):
        for found in pattern.findall(text):
            yield "".join(re.findall(r"\d+", found))


def all_numbers(text: str) -> set[str]:
    """Return what any long number in a text may be by its digits alone, wherever it begins."""
    together = set()
    for found in _LOOSE.findall(text):
        groups = re.findall(r"\d+", found)
        for first in range(len(groups)):
            digits = ""
            for group in groups[first:]:
                digits += group
                if len(digits) > _MOST:
                    break
                if len(digits) >= _LEAST:
                    together.add(digits)
    return together
