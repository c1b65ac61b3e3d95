"""Sections as Markdown, for model cards. Figures stay on pages: a card is text."""

from collections.abc import Iterator, Sequence

from clintune.core.text import visible
from clintune.report.section import (
    Block,
    Cards,
    Details,
    Heading,
    Picture,
    Points,
    Section,
    Terms,
    Text,
)
from clintune.report.table import Cell, Counted, Number, Score, Table

_ACTIVE = frozenset("\\`*_{}[]#+!|~$&<>")
"""The characters that mean something in Markdown, or in HTML within it."""


def render_markdown(sections: Sequence[Section]) -> str:
    """Return sections as Markdown that shows just their texts: no name in them comes alive."""
    parts = []
    for section in sections:
        parts.append(f"## {escape(section.title)}")
        parts += [text for block in section.blocks for text in _block(block)]
    return "\n\n".join(parts)


def escape(text: object) -> str:
    """Escape text so that Markdown, and HTML within it, shows exactly this text.

    The text stays in its cell of a table.
    """
    return "".join(f"&#{ord(c)};" if c in _ACTIVE else c for c in visible(text))


def _block(block: Block) -> Iterator[str]:
    """Yield the paragraphs of a block; a figure has none."""
    match block:
        case Heading(text):
            yield f"### {escape(text)}"
        case Text(text, "warning"):
            yield f"**{escape(text)}**"
        case Text(text):
            yield escape(text)
        case Points(items):
            yield "\n".join(f"- {escape(item)}" for item in items)
        case Terms(terms):
            yield "\n".join(f"- {escape(name)}: {escape(text)}" for name, text in terms.items())

        case Cards(cards):
            for card in cards:
                yield f"{escape(card.title)}: {score_text(card.score)}"
        case Details(_, table) | (Table() as table):
            yield _table(table)
        case Picture():
            return


def _table(table: Table) -> str:
    """Return a table whose columns of numbers stand to the right."""
    rows = table.shown()
    right = []
    for i in range(len(table.head)):
        right.append(all(isinstance(row.cells[i], Counted | Number) for row in rows))

    lines = [[escape(name) for name in table.head], ["--:" if r else "---" for r in right]]
    for row in rows:
        lines.append([cell_text(cell) for cell in row.cells])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def cell_text(cell: Cell) -> str:
    """Return a cell that may be read as text of one line."""
    if isinstance(cell, Score):
        return score_text(cell)
    return str(cell) if isinstance(cell, Counted | Number) else escape(cell)


def score_text(score: Score) -> str:
    """Return a value with its interval in words."""
    if not score.is_defined:
        return "–"
    if not score.has_interval:
        return f"{score.number('value')} (no interval)"
    return f"{score.number('value')} ({score.number('low')} to {score.number('high')})"
