"""Metrics of amounts agree with scikit-learn under weights, and are silent without an answer."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from sklearn import metrics as sk

from clintune.metrics import regression

METRICS = (
    regression.mae,
    regression.rmse,
    regression.r2,
    regression.coverage(0.9),
    regression.coverage_gap(0.9),
)
# scikit-learn of the test environment itself: it is a dependency.
REFERENCES = {
    regression.mae: sk.mean_absolute_error,
    regression.rmse: sk.root_mean_squared_error,
    regression.r2: sk.r2_score,
}


@st.composite
def amounts(draw):
    """Targets [N] and predictions [N, 3] on a grid, far from 0 or not, and whole weights [2, N]."""
    n, far = draw(st.integers(2, 30)), draw(st.sampled_from([0.0, 1e5]))
    grid = st.integers(-20, 20).map(lambda k: k / 4)
    targets = draw(npst.arrays(np.float64, n, elements=grid))
    predicted = np.sort(draw(npst.arrays(np.float64, (n, 3), elements=grid)), axis=1)[:, [1, 0, 2]]
    weights = draw(npst.arrays(np.float64, (2, n), elements=st.integers(0, 4).map(float)))
    targets[:2], weights[:, :2] = (0, 1), 1
    return targets + far, predicted + far, weights


@pytest.mark.parametrize("metric", REFERENCES, ids=lambda metric: metric.name)
@given(data=amounts())
@settings(max_examples=60, deadline=None)
def test_agrees_with_sklearn_weighted_or_not(metric, data):
    targets, predicted, weights = data
    reference = REFERENCES[metric]
    assert metric(targets, predicted) == pytest.approx(
        reference(targets, predicted[:, 0]), rel=1e-9, abs=1e-9
    )
    scores = metric(targets, predicted, weights)
    expected = [reference(targets, predicted[:, 0], sample_weight=row) for row in weights]
    assert scores == pytest.approx(expected, rel=1e-9, abs=1e-9)


@given(data=amounts())
@settings(max_examples=60, deadline=None)
def test_a_whole_weight_is_a_repetition_of_a_row(data):
    targets, predicted, weights = data
    unknown = (
        np.append(targets, np.nan)[:, None],
        np.vstack([predicted, [np.nan] * 3]),
        np.c_[weights, [7, 7]],
    )
    for metric in METRICS:
        repeated = [np.repeat(np.arange(len(targets)), row.astype(int)) for row in weights]
        plain = [metric(targets[rows], predicted[rows]) for rows in repeated]
        assert metric(*unknown) == pytest.approx(plain, rel=1e-9, abs=1e-9)


def test_coverage_counts_ends_and_its_gap_has_no_direction():
    targets = np.array([1.0, 2, 3, 4])
    predicted = np.array(
        [[0, 1.0, 2], [0, 1, 2], [0, 3.5, 9], [0, 9, 1]]
    )  # the last one is upside down
    assert regression.coverage(0.9)(targets, predicted) == 0.5
    assert regression.coverage_gap(0.9)(targets, predicted) == pytest.approx(0.4)
    assert regression.coverage_gap(0.1)(targets, predicted) == pytest.approx(0.4)
    assert "90%" in regression.coverage(0.9).meaning


def test_the_mean_has_an_r2_of_0_and_the_truth_one_of_1():
    targets = np.array([1.0, 2, 6])
    assert regression.r2(targets, np.full((3, 3), 3.0)) == pytest.approx(0, abs=1e-12)
    assert regression.r2(targets, np.repeat(targets[:, None], 3, axis=1)) == 1


def test_r2_is_undefined_where_all_targets_are_the_same():
    targets, predicted = np.array([0.1, 0.1, 0.7, 0.3]), np.full((4, 3), 0.5)
    weights = np.array([[1, 1, 0, 0], [0, 0, 0.3, 0], [0, 0, 0, 0], [1, 1, 1, 1]])
    assert np.isnan(regression.r2(targets, predicted, weights)).tolist() == [
        True,
        True,
        True,
        False,
    ]
    assert np.isnan(regression.r2(targets[:2], predicted[:2]))


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_what_is_undefined_is_nan(metric):
    nobody = metric.compute(np.zeros(0), np.zeros((0, 3)), np.ones((2, 0)))
    assert np.isnan(nobody).tolist() == [True, True]
    assert np.isnan(metric(np.array([np.nan]), np.ones((1, 3))))
    assert np.isnan(metric(np.array([1.0, 2]), np.array([[1, 0, 2], [np.inf, 0, 2]])))
    assert np.isnan(metric(np.array([1.0, 2]), np.ones((2, 3)), np.zeros((1, 2)))).all()


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_all_that_a_page_says_is_there(metric):
    assert metric.title
    assert metric.meaning.endswith(".")
    assert metric.higher_is_better == {"r2": True, "coverage": None}.get(metric.name, False)
