"""No count under 11 is shown, nor one that gives it away."""

from hypothesis import given
from hypothesis import strategies as st

from clintune.report.small_cells import HIDDEN, shown, shown_part, shown_together

counts = st.integers(0, 40)


@given(counts)
def test_small_counts_are_hidden_and_others_shown(count):
    assert shown(count) == (HIDDEN if count < 11 else str(count))


def test_a_missing_count_is_a_dash():
    assert shown(None) == shown_part(None, 100) == "–"


@given(counts, counts)
def test_a_part_is_shown_only_where_the_rest_is_large_too(part, rest):
    text = shown_part(part, part + rest)
    assert text.isdigit() == (part >= 11 and rest >= 11)


@given(st.lists(counts, min_size=2, max_size=6))
def test_a_single_hidden_count_cannot_be_found_by_subtraction(values):
    texts = shown_together(values)
    hidden = [value for value, text in zip(values, texts, strict=True) if not text.isdigit()]
    assert len(hidden) != 1
    assert all(
        int(text) == value for value, text in zip(values, texts, strict=True) if text.isdigit()
    )
