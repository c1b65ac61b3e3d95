"""Averaging over a subject's samples."""

from datetime import datetime

import numpy as np
import pytest

from clintune.contracts import Predictions
from clintune.core.errors import DataError
from clintune.evaluation.subjects import per_subject


def make(targets):
    return Predictions(
        cohort=np.array(["b", "a", "a", "a"]),
        subject_id=np.array([7, 7, 7, 8]),
        prediction_time=[datetime(2020, 1, day) for day in (1, 3, 2, 4)],
        fold=np.zeros(4, np.int64),
        targets=np.array(targets, np.float32)[:, None],
        predicted=np.array([[0.1], [0.2], [0.6], [0.9]], np.float32),
    )


def test_probabilities_are_averaged_within_cohort_and_subject():
    result = per_subject(make([1, np.nan, 0, np.nan]))
    assert list(zip(result.cohort, result.subject_id, strict=True)) == [
        ("a", 7),
        ("a", 8),
        ("b", 7),
    ]
    np.testing.assert_allclose(result.predicted[:, 0], [0.4, 0.9, 0.1])
    np.testing.assert_array_equal(result.targets[:, 0], [0, np.nan, 1])
    assert [time.day for time in result.prediction_time] == [3, 4, 1]


def test_labels_that_differ_within_a_subject_are_refused():
    with pytest.raises(DataError, match="of 1 of 3 subjects; set per_subject to false"):
        per_subject(make([1, 1, 0, 1]))
