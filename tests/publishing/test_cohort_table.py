import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clintune.evaluation.disclosure import hide_small


def test_large_counts_are_shown():
    assert hide_small(np.array([[1200, 30, 11]])) == [["1,200", "30", "11"]]


def test_a_small_count_takes_another_of_its_row_and_column_with_it_the_training_split_first():
    texts = hide_small(np.array([[500, 90, 70], [100, 5, 20]]))
    assert texts == [["11 or more", "11 or more", "70"], ["11 or more", "<11", "20"]]


@given(st.lists(st.lists(st.integers(0, 40), min_size=3, max_size=3), min_size=2, max_size=4))
def test_no_hidden_count_stands_alone_in_a_row_or_column(rows):
    counts = np.array(rows)
    texts = np.array(hide_small(counts))
    hidden = np.isin(texts, ["<11", "11 or more"])
    assert hidden[counts < 11].all()
    assert (texts[counts < 11] == "<11").all()
    assert not (hidden.sum(axis=0) == 1).any()
    assert not (hidden.sum(axis=1) == 1).any()
    assert all(int(text.replace(",", "")) == count for text, count in zip(texts[~hidden], counts[~hidden], strict=True))


@pytest.mark.parametrize("counts", [[[3]], [[3, 4]]])
def test_everything_may_be_hidden(counts):
    assert {text for row in hide_small(np.array(counts)) for text in row} == {"<11"}
