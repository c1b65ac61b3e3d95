"""Sections as pages and Markdown: small counts stay hidden, names stay, equal gives equal."""

import html
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clintune.report.markdown import escape, render_markdown
from clintune.report.page import render_page
from clintune.report.section import (
    Card,
    Cards,
    Details,
    Heading,
    Picture,
    Points,
    Section,
    Terms,
    Text,
)
from clintune.report.table import Count, Links, Number, Row, Score, Share, Table
from helpers.hostile_names import NAMES, Alive, hidden

VALUES = {"value": 0.8124, "low": 0.7, "high": 0.9}
counts = st.integers(0, 40)


def texts(table):
    return [[str(cell) for cell in row.cells[1:]] for row in table.shown()]


@settings(deadline=None)
@given(st.lists(st.lists(counts, min_size=3, max_size=3), min_size=1, max_size=4))
@pytest.mark.parametrize("sums", ["none", "rows", "columns", "grid"])
def test_no_table_shows_a_small_count_nor_what_tells_one(sums, rows):
    table = Table(["", "a", "b", "c"], [Row(["x", *map(Count, row)]) for row in rows], sums=sums)
    shown = texts(table)
    for row, found in zip(rows, shown, strict=True):
        for count, text in zip(row, found, strict=True):
            assert text == str(count) if text.isdigit() else text in ("<11", "11 or more")
            assert count >= 11 or text == "<11"
    lines = {"none": [], "rows": shown, "columns": list(zip(*shown, strict=True))}
    lines["grid"] = [*lines["rows"], *lines["columns"]]
    for line in lines[sums]:
        assert sum(not text.isdigit() for text in line) != 1 or len(line) == 1


@given(st.lists(counts, min_size=2, max_size=4), counts)
def test_those_in_no_row_are_hidden_as_if_they_were_one(column, rest):
    table = Table(["", "n"], [Row(["x", Count(n)]) for n in column], sums="columns", rest=rest)
    found = zip(column, texts(table), strict=True)
    unknown = [count for count, (text,) in found if not text.isdigit()] + [rest] * (rest > 0)
    assert len(unknown) != 1 or unknown[0] >= 11


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (Count(None), "–"),
        (Count(1200), "1,200"),
        (Count(195, 200), "nearly all"),
        (Share(0.25, 20, 60), "25%"),
        (Share(0.25, 10, 60), "<11"),
        (Share(0.95, 60, 3), "nearly all"),
        (Share(None, 0, 0), "<11"),
        (Number(-0.0312, 2, "signed"), "−0.03"),
        (Number(-0.0012, 2), "0.00"),
        (Number(-0.0001, 1, "percent"), "0.0%"),
        (Number(None), "–"),
        (Number(0.07123, None), "0.0712"),
        (Number(0.0712, 1, "percent"), "7.1%"),
        (Number(12345.6, 0, "thousands"), "12,346"),
    ],
)
def test_a_cell_is_written_one_way_everywhere(cell, text):
    table = Table(["name", "cell"], [Row(["x", cell])])
    assert texts(table) == [[text]]
    assert f"| x | {text} |" in render_markdown([Section("s", [table])])


def section_of(name):
    """Return a section with every kind of block, in which everything is called by a name."""
    rows = [Row([name, Score(VALUES), Links(name, {name: "runs/1"})])]
    table = Table([name, name, name], rows)
    return Section(
        name,
        [
            Heading(name),
            *(Text(name, style) for style in ("plain", "lead", "note", "muted", "warning")),
            Points([name, name]),
            Terms({name: name}),
            Terms({name: name}, title=name),
            Cards([Card(name, Score(VALUES, ends=(0.4, 0.5, 1.0)), [Text(name)])]),
            Details(name, table),
            table,
            Picture(lambda canvas: canvas.suptitle(name), (2, 2), name, name),
        ],
    )


@pytest.mark.parametrize("name", NAMES)
def test_no_name_comes_alive_on_a_page(name):
    html, plain = (render_page(n, n, n, [section_of(n)]) for n in (name, "ward"))
    found, expected = Alive(html), Alive(plain)
    assert set(found.tags) <= set(expected.tags)
    assert not found.handlers
    assert found.links == expected.links
    assert not hidden(html)


def test_markdown_tells_what_a_page_tells_but_for_figures():
    text = render_markdown([section_of("ward")])
    assert text.startswith("## ward\n\n### ward\n\nward\n\n")
    assert "**ward**" in text
    assert "ward: 0.812 (0.700 to 0.900)" in text
    assert "<svg" not in text
    page = render_page("a", "b", "c", [section_of("ward")])
    assert page == render_page("a", "b", "c", [section_of("ward")])
    assert len(re.findall("<svg role", page)) == 1


@given(st.text(st.characters(categories=["L", "N", "P", "S"], include_characters=" ")))
def test_markdown_gives_back_the_text_without_active_signs(text):
    escaped = escape(text)
    assert html.unescape(escaped) == text
    assert not set(escaped) & set("<>|[]`*_")
