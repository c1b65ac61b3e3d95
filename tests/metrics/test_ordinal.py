"""Metrics of ordered classes agree with scikit-learn; the predicted class is the median."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from sklearn import metrics as sk

from clintune.metrics import ordinal

METRICS = (ordinal.quadratic_kappa, ordinal.class_mae)


@st.composite
def graded(draw):
    """Class numbers [N], probabilities [N, 4] with exact halves, and whole weights [2, N]."""
    n = draw(st.integers(2, 30))
    targets = draw(npst.arrays(np.float64, n, elements=st.integers(0, 3).map(float)))
    parts = draw(npst.arrays(np.float64, (n, 4), elements=st.integers(0, 3).map(float)))
    parts[:, 0] += 1
    weights = draw(npst.arrays(np.float64, (2, n), elements=st.integers(0, 4).map(float)))
    targets[:2], weights[:, :2] = (0, 1), 1
    return targets, parts / parts.sum(axis=1, keepdims=True), weights


def plain_median(probabilities):
    """The first class at which the sum reaches one half."""
    reached = [
        [sum(row[: number + 1]) >= 0.5 - 1e-9 for number in range(len(row))]
        for row in probabilities
    ]
    return np.array([row.index(True) for row in reached])


@given(data=graded())
@settings(max_examples=100, deadline=None)
def test_agrees_with_sklearn_weighted_or_not(data):
    targets, probabilities, weights = data
    predicted = plain_median(probabilities)
    for row in (None, *weights):
        kappa = sk.cohen_kappa_score(
            targets, predicted, weights="quadratic", sample_weight=row, labels=range(4)
        )
        error = sk.mean_absolute_error(targets, predicted, sample_weight=row)
        for metric, value in zip(METRICS, (kappa, error), strict=True):
            found = metric(targets, probabilities, None if row is None else row[None])
            assert found == pytest.approx(value, abs=1e-12)


@given(data=graded())
@settings(max_examples=60, deadline=None)
def test_a_whole_weight_is_a_repetition_of_a_row(data):
    targets, probabilities, weights = data
    no_row = np.full((1, 4), np.nan)
    unknown = (
        np.append(targets, np.nan)[:, None],
        np.vstack([probabilities, no_row]),
        np.c_[weights, [7, 7]],
    )
    for metric in METRICS:
        repeated = [np.repeat(np.arange(len(targets)), row.astype(int)) for row in weights]
        plain = [metric(targets[rows], probabilities[rows]) for rows in repeated]
        assert metric(*unknown) == pytest.approx(plain, abs=1e-12)


def test_the_median_class_is_that_of_cumulative_one_half():
    rows = [[0.5, 0.5, 0], [0.49, 0.02, 0.49], [0.4, 0.05, 0.55], [0, 0, 1], [1, 0, 0]]
    assert ordinal.median_class(np.array(rows)).tolist() == [0, 1, 2, 2, 0]
    single = np.array(
        [[0.45, 0.05, 0.5], [0.3, 0.1, 0.6]], np.float32
    )  # 0.45 + 0.05 is a hair less than 0.5
    assert ordinal.median_class(single).tolist() == [1, 2]


def test_truth_is_1_its_reverse_minus_1_and_one_answer_0():
    targets = np.array([0.0, 0, 1, 2, 2])
    sure = np.eye(3)[targets.astype(int)]
    assert ordinal.quadratic_kappa(targets, sure) == 1
    assert ordinal.quadratic_kappa(targets, sure[:, ::-1]) == -1
    assert ordinal.quadratic_kappa(targets, np.eye(3)[[1] * 5]) == pytest.approx(0, abs=1e-12)
    assert ordinal.class_mae(targets, sure[:, ::-1]) == pytest.approx(8 / 5)


@pytest.mark.parametrize("weights", [[1, 1, 0], [0.1, 0.2, 0]])
def test_kappa_is_undefined_where_all_is_one_class(weights):
    targets, sure = np.array([2.0, 2, 1]), np.eye(3)[[2, 2, 0]]
    assert np.isnan(ordinal.quadratic_kappa(targets, sure, np.array([weights])))
    assert ordinal.class_mae(targets, sure, np.array([weights])) == 0


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_what_is_undefined_is_nan(metric):
    nobody = metric.compute(np.zeros(0), np.zeros((0, 3)), np.ones((2, 0)))
    assert np.isnan(nobody).tolist() == [True, True]
    assert np.isnan(metric(np.array([np.nan]), np.eye(3)[:1]))
    assert np.isnan(metric(np.array([1.0, 0]), np.array([[0.5, 0.5], [np.nan, 0.5]])))
    assert np.isnan(metric(np.array([1.0, 0]), np.eye(2), np.zeros((1, 2)))).all()


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_all_that_a_page_says_is_there(metric):
    assert metric.title
    assert metric.meaning.endswith(".")
    assert metric.higher_is_better == (metric.name == "quadratic_kappa")
