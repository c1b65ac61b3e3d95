"""Metrics agree with scikit-learn, closed forms and loops under ties, weights, missing labels."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from sklearn import metrics as sk
from sklearn.calibration import calibration_curve as sk_calibration_curve

from clintune.metrics import classification as metrics


@st.composite
def binary(draw, both=True):
    """Targets, probabilities with ties, integer weights; both classes have weight where `both`."""
    n = draw(st.integers(2, 40))
    targets = draw(npst.arrays(np.float64, n, elements=st.sampled_from([0.0, 1.0])))
    steps = draw(st.sampled_from([3, 10, 1000]))
    probabilities = draw(
        npst.arrays(np.float64, n, elements=st.integers(0, steps).map(lambda k: k / steps))
    )
    weights = draw(npst.arrays(np.float64, n, elements=st.integers(0, 4).map(float)))
    if both:
        targets[:2], weights[:2] = (0, 1), 1
    return targets, probabilities, weights


REFERENCES = {
    metrics.auroc: lambda y, p, w: sk.roc_auc_score(y, p, sample_weight=w),
    metrics.auprc: lambda y, p, w: sk.average_precision_score(y, p, sample_weight=w),
    metrics.brier: lambda y, p, w: sk.brier_score_loss(y, p, sample_weight=w),
    metrics.log_loss: lambda y, p, w: sk.log_loss(y, p, sample_weight=w, labels=[0, 1]),
}


@pytest.mark.parametrize("metric", REFERENCES)
@given(data=binary())
@settings(max_examples=60, deadline=None)
def test_binary_metrics_agree_with_sklearn_weighted_or_not(metric, data):
    targets, probabilities, weights = data
    reference = REFERENCES[metric]
    assert metric(targets, probabilities) == pytest.approx(
        reference(targets, probabilities, None), abs=1e-12
    )
    weighted = metric(targets, probabilities, weights[None])
    assert weighted.shape == (1,)
    assert weighted[0] == pytest.approx(reference(targets, probabilities, weights), abs=1e-12)


@given(data=binary(both=False))
@settings(max_examples=50, deadline=None)
def test_a_weight_is_a_repetition_and_unknown_is_left_out(data):
    targets, probabilities, weights = data
    repeated = np.repeat(np.arange(len(targets)), weights.astype(int))
    unknown = np.append(targets, np.nan), np.append(probabilities, 0.3), np.append(weights, 7)[None]
    for metric in (metrics.auroc, metrics.auprc, metrics.brier, metrics.ece, metrics.log_loss):
        plain = metric(targets[repeated], probabilities[repeated])
        assert metric(*unknown)[0] == pytest.approx(plain, abs=1e-12, nan_ok=True)


@given(data=binary())
@settings(max_examples=50, deadline=None)
def test_ece_agrees_with_a_plain_loop(data):
    targets, probabilities, _ = data
    expected = 0.0
    for k in range(15):
        upper = probabilities < (k + 1) / 15 if k < 14 else probabilities <= 1
        inside = (probabilities * 15 >= k) & (upper if k == 14 else probabilities * 15 < k + 1)
        if inside.any():
            expected += abs(probabilities[inside].mean() - targets[inside].mean()) * inside.mean()
    assert metrics.ece(targets, probabilities) == pytest.approx(expected, abs=1e-12)


def test_auroc_is_the_share_of_pairs_in_order():
    targets, probabilities = np.array([1.0, 1, 0, 0]), np.array([0.9, 0.4, 0.4, 0.1])
    assert metrics.auroc(targets, probabilities) == 3.5 / 4


@pytest.mark.parametrize("targets", [[], [1.0, 1.0], [0.0, 0.0], [np.nan, 1.0], [np.nan, np.nan]])
def test_what_is_undefined_is_nan(targets):
    targets = np.array(targets)
    assert np.isnan(metrics.auroc(targets, np.full(len(targets), 0.5)))
    assert np.isnan(metrics.auprc(targets, np.full(len(targets), 0.5))) != (targets == 1).any()
    assert np.isnan(metrics.brier(targets, np.full(len(targets), 0.5))) == np.isnan(targets).all()


@pytest.fixture
def multilabel():
    rng = np.random.default_rng(0)
    targets = (rng.random((60, 3)) < [0.5, 0.3, 0.2]).astype(float)
    targets[rng.random((60, 3)) < 0.2] = np.nan
    return targets, np.round(rng.random((60, 3)), 1), rng.integers(0, 3, 60).astype(float)


@pytest.mark.parametrize(
    ("macro", "micro", "reference"),
    [
        (metrics.macro_auroc, metrics.micro_auroc, sk.roc_auc_score),
        (metrics.macro_auprc, metrics.micro_auprc, sk.average_precision_score),
    ],
)
def test_macro_and_micro_averages_leave_unknown_labels_out(multilabel, macro, micro, reference):
    targets, probabilities, weights = multilabel
    known = ~np.isnan(targets)
    columns = [
        reference(targets[k, i], probabilities[k, i], sample_weight=weights[k])
        for i, k in enumerate(known.T)
    ]
    assert macro(targets, probabilities, weights[None])[0] == pytest.approx(np.mean(columns))
    pairs = np.broadcast_to(weights[:, None], targets.shape)[known]
    expected = reference(targets[known], probabilities[known], sample_weight=pairs)
    assert micro(targets, probabilities, weights[None])[0] == pytest.approx(expected)


def test_macro_averages_the_labels_that_are_defined(multilabel):
    targets, probabilities, _ = multilabel
    targets[:, 2] = 0
    assert metrics.macro_auroc(targets, probabilities) == metrics.macro_auroc(
        targets[:, :2], probabilities[:, :2]
    )
    targets[:] = np.nan
    assert np.isnan(metrics.macro_auroc(targets, probabilities))
    assert np.isnan(metrics.micro_auroc(targets, probabilities))


@given(st.integers(0, 10_000))
@settings(max_examples=15, deadline=None)
def test_multiclass_metrics_agree_with_sklearn(seed):
    rng = np.random.default_rng(seed)
    classes = np.append(np.arange(4), rng.integers(0, 4, 30)).astype(float)
    probabilities = rng.dirichlet(np.ones(4), len(classes))
    weights = np.append(np.ones(4), rng.integers(0, 3, 30))
    unknown = (
        np.append(classes, np.nan)[:, None],
        np.vstack([probabilities, [[0.25] * 4]]),
        np.append(weights, 5)[None],
    )
    one_hot = np.eye(4)[classes.astype(int)]
    references = {
        metrics.multiclass_auroc: sk.roc_auc_score(
            one_hot, probabilities, sample_weight=weights, average="macro"
        ),
        metrics.multiclass_auprc: sk.average_precision_score(
            one_hot, probabilities, sample_weight=weights
        ),
        metrics.multiclass_brier: sk.brier_score_loss(
            classes, probabilities, sample_weight=weights, labels=range(4)
        ),
        metrics.multiclass_log_loss: sk.log_loss(classes, probabilities, sample_weight=weights),
        metrics.accuracy: sk.accuracy_score(
            classes, probabilities.argmax(1), sample_weight=weights
        ),
    }
    for metric, expected in references.items():
        assert metric(*unknown)[0] == pytest.approx(expected, abs=1e-12), metric

    hits = (probabilities.argmax(1) == classes).astype(float)
    assert metrics.top_label_ece(classes, probabilities) == metrics.ece(hits, probabilities.max(1))


@given(data=binary())
@settings(max_examples=50, deadline=None)
def test_the_calibration_curve_agrees_with_sklearn(data):
    targets, probabilities, _ = data
    observed, predicted = sk_calibration_curve(
        targets, probabilities, n_bins=5, strategy="quantile"
    )
    ours = metrics.calibration_curve(targets, probabilities, bins=5)
    assert ours.counts.sum() == len(targets)
    if len(ours.predicted) == len(predicted):  # where the two round a tied edge alike
        np.testing.assert_allclose(ours.predicted, predicted)
        np.testing.assert_allclose(ours.observed, observed)


def test_calibration_bins_hold_equally_many_samples():
    rng = np.random.default_rng(1)
    probabilities = rng.random(200)
    curve = metrics.calibration_curve(
        (rng.random(200) < probabilities).astype(float), probabilities, bins=4
    )
    assert curve.counts.tolist() == [50, 50, 50, 50]
    assert np.all(np.diff(curve.predicted) > 0)


def test_a_calibration_curve_without_labels_is_empty():
    nothing = np.array([np.nan]), np.array([0.5])
    assert len(metrics.calibration_curve(*nothing).counts) == 0


def test_a_thousand_replicates_cost_little_more_than_one_sort():
    rng = np.random.default_rng(2)
    targets, probabilities = (rng.random(1000) < 0.3).astype(float), rng.random(1000)
    weights = rng.multinomial(1000, np.full(1000, 1e-3), size=1000).astype(float)
    start = time.process_time()
    metrics.auroc(targets, probabilities, weights)
    assert time.process_time() - start < 1


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("metric", REFERENCES)
def test_a_probability_that_is_no_number_is_undefined(metric, wrong):
    targets, probabilities = np.array([0.0, 1, 1, 0]), np.array([0.1, 0.7, 0.4, wrong])
    assert np.isnan(metric(targets, probabilities))
    targets[3] = np.nan
    assert metric(targets, probabilities) == metric(targets[:3], probabilities[:3])
