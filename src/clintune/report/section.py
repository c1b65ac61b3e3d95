"""What a page is made of, whatever it is written as: sections of texts, tables and figures.

A section is plain data. No count under 11 leaves a table, see `report.table`, and a figure draws
from points that may be shown.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from clintune.report.table import Score, Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas


@dataclass(frozen=True)
class Heading:
    """A title within a section."""

    text: str


@dataclass(frozen=True)
class Text:
    """A paragraph. A `note` is small, a `warning` is what a reader must not miss."""

    text: str
    style: Literal["plain", "lead", "note", "muted", "warning"] = "plain"


@dataclass(frozen=True)
class Points:
    """A list of sentences."""

    items: Sequence[str]


@dataclass(frozen=True)
class Terms:
    """Names and what they mean or hold; one with a `title` is folded away on a page."""

    terms: Mapping[str, str]
    title: str = ""


@dataclass(frozen=True)
class Picture:
    """A figure: `draw` fills a canvas of matplotlib. `title` is for those who cannot see it."""

    draw: Callable[["Canvas"], None]
    size: tuple[float, float]
    """Width and height in inches."""
    title: str
    caption: str


@dataclass(frozen=True)
class Card:
    """One score, large, with what it means to a reader and whom it rests on."""

    title: str
    score: Score
    texts: Sequence[Text]


@dataclass(frozen=True)
class Cards:
    """Cards side by side."""

    cards: Sequence[Card]


@dataclass(frozen=True)
class Details:
    """A table that a page folds away."""

    title: str
    table: Table


Block = Heading | Text | Points | Terms | Picture | Cards | Details | Table


@dataclass(frozen=True)
class Section:
    """A part of a page with a title of its own."""

    title: str
    blocks: Sequence[Block]
