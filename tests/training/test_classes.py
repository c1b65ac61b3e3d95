"""Labels that teach nothing are named before training."""

import numpy as np
import pytest

from clintune.core.errors import DataError
from clintune.tasks.binary import Binary
from clintune.tasks.multiclass import Multiclass
from clintune.tasks.multilabel import Multilabel
from clintune.training.classes import check_classes

NAN = np.nan
MANY = Multilabel(label="x", phenotypes=["aki", "copd", "sepsis"])
WARDS = Multiclass(label="x", classes=["a", "b", "c"])


@pytest.mark.parametrize(
    ("task", "targets"),
    [
        (Binary(label="x"), [[1], [1], [NAN]]),
        (WARDS, [[2], [NAN], [2]]),
        (MANY, [[1, 0, NAN], [1, NAN, NAN], [NAN, 0, 1]]),
    ],
)
def test_labels_that_are_all_the_same_are_refused(task, targets):
    with pytest.raises(DataError, match=r"tasks\.y: the known labels of all training samples are the same"):
        check_classes("y", task, np.array(targets, np.float32))


@pytest.mark.parametrize(
    ("task", "targets", "words"),
    [
        (Binary(label="x"), [[1], [0], [NAN]], ""),
        (WARDS, [[2], [0], [NAN]], "tasks.y: no training sample is b"),
        (WARDS, [[2], [0], [1]], ""),
        (MANY, [[1, 0, NAN], [0, 0, 1]], "tasks.y: all known training labels are the same of copd, sepsis"),
    ],
)
def test_classes_and_phenotypes_that_are_not_learnt_are_named(task, targets, words, capsys):
    check_classes("y", task, np.array(targets, np.float32))
    printed = capsys.readouterr().err
    assert words in printed
    assert bool(printed) == bool(words)
