"""What strangers named cannot steer a terminal or a page."""

import html
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clintune.core.text import in_short, markdown, visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b]0;owned\x07", "\\x1b]0;owned\\x07"),
        ("a\u202eb", "a\\u202eb"),
        ("no\xa0break", "no\\xa0break"),
        ("two\nlines\ttab", "two\\nlines\\ttab"),
        ("Größe 1 µg/l 温度", "Größe 1 µg/l 温度"),
    ],
)
def test_what_shows_nothing_is_written_out(text, shown):
    assert visible(text) == shown


@given(st.text())
def test_every_character_that_is_left_shows_itself(text):
    assert not {unicodedata.category(c) for c in visible(text)} & {"Cc", "Cf", "Cs", "Zl", "Zp"}


@given(st.text(st.characters(categories=["L", "N", "P", "S"], include_characters=" ")))
def test_markdown_gives_back_the_text_without_active_signs(text):
    escaped = markdown(text)
    assert html.unescape(escaped) == text
    assert not set(escaped) & set("<>|[]`*_")


def test_a_line_that_nobody_reads_loses_its_middle():
    line = in_short("place: " + "x\x1b" * 10**6 + " is wrong; take another")
    assert len(line) <= 1010
    assert line.startswith("place: x\\x1b")
    assert line.endswith(" is wrong; take another")
    name = "n" * 255
    assert (
        in_short(f"/data/{name}: is missing; restore it") == f"/data/{name}: is missing; restore it"
    )
