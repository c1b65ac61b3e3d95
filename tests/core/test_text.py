"""What strangers named cannot steer a terminal or a page."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clintune.core.text import visible


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
