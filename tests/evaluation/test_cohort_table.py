from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clintune.evaluation.analyses.cohort import cohort_counts, cohort_tables
from clintune.experiment.folds import SPLITS
from clintune.report.small_cells import hide_small
from clintune.tasks.binary import Binary
from clintune.tasks.multiclass import Multiclass


def test_large_counts_are_shown():
    assert hide_small(np.array([[1200, 30, 11]])) == [["1,200", "30", "11"]]


def test_a_small_count_takes_another_of_its_row_and_column():
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
    assert all(
        int(text.replace(",", "")) == count
        for text, count in zip(texts[~hidden], counts[~hidden], strict=True)
    )


@pytest.mark.parametrize("counts", [[[3]], [[3, 4]]])
def test_everything_may_be_hidden(counts):
    assert {text for row in hide_small(np.array(counts)) for text in row} == {"<11"}


def rows_of(task, counts):
    """Return a cohort's rows: so many samples [A, 3] have each answer, the last row none at all."""
    answers = [*range(len(counts) - 1), np.nan]
    values = np.concatenate([np.repeat(answers, column) for column in np.transpose(counts)])
    samples = SimpleNamespace(
        indexes=[SimpleNamespace(name="made_up")],
        cohort=np.full(len(values), "made_up"),
        subject=np.arange(len(values)),
        targets=lambda name: values[:, None],
    )
    split = np.repeat(list(SPLITS), np.sum(counts, axis=0))
    people, labels = cohort_tables("made_up", cohort_counts(samples, split, {"y": task})["made_up"])
    rows = {row.cells[0]: row.cells[1:] for row in people.shown()}
    return rows | {f"y = {row.cells[0]}": row.cells[1:] for row in labels.shown()}


def test_few_samples_without_a_label_cannot_be_worked_out():
    rows = rows_of(Binary(label="y"), [[200, 60, 60], [100, 30, 25], [3, 40, 50]])
    assert rows["samples"] == ["303", "130", "135"]
    assert rows["y = unlabelled"] == ["<11", "11 or more", "50"]
    assert rows["y = no"] == ["11 or more", "11 or more", "60"]
    assert rows["y = yes"] == ["100", "30", "25"]


def test_where_every_sample_has_a_label_nothing_is_hidden():
    rows = rows_of(Binary(label="y"), [[200, 60, 60], [100, 30, 25], [0, 0, 0]])
    assert list(rows) == ["subjects", "samples", "y = no", "y = yes"]
    assert rows["y = no"] == ["200", "60", "60"]


@given(st.lists(st.lists(st.integers(0, 40), min_size=3, max_size=3), min_size=4, max_size=4))
def test_no_small_count_follows_from_the_other_rows_of_its_split(counts):
    rows = rows_of(Multiclass(label="y", classes=["a", "b", "c"]), counts)
    labels = [texts for name, texts in rows.items() if name.startswith("y")]
    for split, column in enumerate(np.transpose(counts)):
        hidden = sum(texts[split] in ("<11", "11 or more") for texts in labels)
        unlabelled_is_shown = len(labels) == 4
        assert hidden != 1
        assert unlabelled_is_shown or not column[-1]
