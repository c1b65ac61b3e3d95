"""The table of classes counts patients; neither a cell nor a share gives a small number away."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix, precision_score, recall_score

from clintune.evaluation.analyses.confusion import confusion, confusion_table
from clintune.tasks.questions import one_of
from helpers.made_up_predictions import predictions_of


def predict(true, given, classes, subject=None):
    subjects = {} if subject is None else {"subject_id": np.asarray(subject)}
    return predictions_of(true, np.eye(classes)[np.asarray(given)], **subjects)


def texts(found):
    """Return names, cells, sensitivities and precisions as the table shows them."""
    *classes, last = confusion_table(found).shown()
    cells = [list(map(str, row.cells[1:-1])) for row in classes]
    sensitivity = [str(row.cells[-1]) for row in classes]
    return found["names"], cells, sensitivity, [str(cell) for cell in last.cells[1:-1]]


def test_large_classes_are_counted_as_scikit_learn_does():
    draw = np.random.default_rng(0)
    true = draw.integers(0, 3, 600)
    given = np.where(draw.random(600) < 0.5, true, draw.integers(0, 3, 600))
    found = confusion(predict(true, given, 3), one_of(["a", "b", "c"])[0])
    names, cells, sensitivity, precision = texts(found)
    assert names == ["a", "b", "c"]
    assert np.array(cells, int).tolist() == confusion_matrix(true, given).tolist()
    assert sensitivity == [f"{share:.0%}" for share in recall_score(true, given, average=None)]
    assert precision == [f"{share:.0%}" for share in precision_score(true, given, average=None)]


def test_patients_count_and_unknown_classes_are_left_out():
    true = [0.0] * 40 + [1.0] * 60 + [np.nan] * 9
    given = [0] * 40 + [1] * 60 + [0] * 9
    subject = [*range(20), *range(20), *[77] * 60, *range(200, 209)]  # class 1 is one patient's
    found = confusion(predict(true, given, 2, subject), one_of(["often", "Quartermain"])[0])
    names, cells, sensitivity, _ = texts(found)
    assert names == ["often", "classes of fewer than 11 patients"]
    assert "60" not in str(cells)
    assert sensitivity == ["nearly all", "<11"]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=120))
def test_no_small_count_follows_from_the_table(pairs):
    true, given = (np.array(part) for part in zip(*pairs, strict=True))
    found = confusion(predict(true, given, 4), one_of(["a", "b", "c", "d"])[0])
    names, cells, sensitivity, _ = texts(found)
    for line in (*cells, *zip(*cells, strict=True)):
        hidden = [cell for cell in line if cell in ("<11", "11 or more")]
        assert len(hidden) != 1 or len(line) == 1
        assert all(int(cell) >= 11 for cell in line if cell not in hidden)
    sizes = np.bincount(true, minlength=4)
    for i, name in enumerate("abcd"):
        assert (name in names) == (sizes[i] >= 11)
        if name in names:
            right = int(((true == i) & (given == i)).sum())
            assert sensitivity[names.index(name)].endswith("%") == (11 <= right <= sizes[i] - 11)
