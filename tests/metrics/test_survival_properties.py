"""What holds of survival metrics for any data; what is undefined, and what they cost."""

import time
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from clintune.metrics import survival, survival_followed, survival_pairs
from clintune.metrics.survival import survival_metrics

TIMES = (2.0, 5.0, 9.0, 12.0)
ONE = survival_metrics(TIMES, (1, 10), (4, 8))
TWO = survival_metrics(TIMES, (1, 10), (4, 8), num_events=2)
CONCORDANCES = ("antolini_c", "uno_c")


@st.composite
def followed(draw, kinds=1):
    """Targets [N, 2] much tied, incidences [N, kinds * 4] much tied, whole weights [3, N]."""
    n = draw(st.integers(1, 30))
    days = draw(npst.arrays(np.float64, n, elements=st.integers(1, 12).map(float)))
    ends = draw(npst.arrays(np.float64, n, elements=st.integers(0, kinds).map(float)))
    steps = draw(npst.arrays(np.float64, (n, kinds, 4), elements=st.integers(0, 3).map(float)))
    weights = draw(npst.arrays(np.float64, (3, n), elements=st.integers(0, 3).map(float)))
    curves = steps.cumsum(axis=2) / 16 / kinds
    return np.stack([days, ends], axis=1), curves.reshape(n, -1), weights


either = st.one_of(st.tuples(st.just(ONE), followed()), st.tuples(st.just(TWO), followed(kinds=2)))


def same(found, expected):
    return found == pytest.approx(expected, abs=1e-12, nan_ok=True)


@given(data=either)
@settings(max_examples=60, deadline=None)
def test_a_whole_weight_is_a_repetition_in_each_weighting(data):
    metrics, (targets, predicted, weights) = data
    for metric in metrics:
        scores = metric(targets, predicted, weights)
        assert scores.shape == (3,)
        for score, row in zip(scores, weights.astype(int), strict=True):
            repeated = np.repeat(np.arange(len(targets)), row)
            assert same(
                score,
                metric.compute(targets[repeated], predicted[repeated], np.ones((1, row.sum())))[0],
            )


@given(data=either, seed=st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_order_unknown_rows_and_scale_of_weights_do_not_matter(data, seed):
    metrics, (targets, predicted, weights) = data
    order = np.random.default_rng(seed).permutation(len(targets))
    unknown = (
        np.vstack([targets, [np.nan, np.nan]]),
        np.vstack([predicted, np.full(predicted.shape[1], np.nan)]),
    )
    for metric in metrics:
        scores = metric(targets, predicted, weights)
        assert same(metric(targets[order], predicted[order], weights[:, order]), scores)
        assert same(metric(*unknown, np.c_[weights, np.ones(3)]), scores)
        assert same(metric(targets, predicted, weights / 7), scores)


@given(data=either)
@settings(max_examples=60, deadline=None)
def test_values_stay_within_the_bounds_of_their_metric(data):
    metrics, (targets, predicted, weights) = data
    for metric in metrics:
        scores = metric(targets, predicted, weights)
        low, high = metric.bounds
        inside = (scores >= low - 1e-12) & (scores <= high + 1e-12)
        assert (inside | np.isnan(scores)).all()


@given(data=either)
@settings(max_examples=40, deadline=None)
def test_perfect_predictions_have_a_concordance_of_1(data):
    metrics, (targets, _, weights) = data
    kinds = 2 if metrics is TWO else 1
    days, ends = targets.T
    order = np.lexsort([ends == 0, days])  # an event before the censorings of its day
    soon = np.empty(len(days))
    soon[order] = np.linspace(1, 0.5, len(days))

    slopes = np.stack([np.where(ends == kind, soon, 0) for kind in range(1, kinds + 1)], axis=1)
    for slope, value in ((slopes, 1.0), (1 - slopes, 0.0)):
        curves = (slope[:, :, None] * np.array(TIMES) / 24).reshape(len(days), -1)
        for metric in (metric for metric in metrics if metric.name in (*CONCORDANCES, "auroc")):
            scores = metric(targets, curves, weights)
            assert scores[~np.isnan(scores)] == pytest.approx(value, abs=1e-12)


@given(data=followed(), scale=st.sampled_from([1 / 8, 2, 1024]))
@settings(max_examples=30, deadline=None)
def test_the_unit_of_time_does_not_matter(data, scale):
    targets, predicted, weights = data
    scaled = survival_metrics(
        [day * scale for day in TIMES], (scale, 10 * scale), (4 * scale, 8 * scale)
    )
    for metric, other in zip(ONE, scaled, strict=True):
        assert same(
            other(targets * [scale, 1], predicted, weights), metric(targets, predicted, weights)
        )


@given(data=followed(), day=st.integers(1, 12))
@settings(max_examples=40, deadline=None)
def test_a_risk_of_0_has_the_kaplan_meier_risk_as_brier_score(data, day):
    targets, predicted, _ = data
    brier = {m.name: m for m in survival_metrics(TIMES, (day, day), (4,))}["ibs"](
        targets, predicted * 0
    )
    at, free = survival.kaplan_meier(*targets.T)
    assert np.isnan(brier) or brier == pytest.approx(
        1 - free[np.searchsorted(at, day, side="right") - 1], abs=1e-12
    )


@given(data=followed(kinds=2))
@settings(max_examples=30, deadline=None)
def test_incidences_of_all_kinds_and_survival_add_up_to_1(data):
    days, ends = data[0].T
    _, free = survival.kaplan_meier(days, ends)
    had = [survival.aalen_johansen(days, ends, kind)[1] for kind in (1, 2)]
    assert free + had[0] + had[1] == pytest.approx(1)
    assert (np.diff(free) <= 0).all()


@given(data=either)
@settings(max_examples=20, deadline=None)
def test_the_size_of_blocks_does_not_matter(data):
    metrics, (targets, predicted, weights) = data
    whole = [metric(targets, predicted, weights) for metric in metrics]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(survival_pairs, "_CELLS", 7)
        patch.setattr(survival_followed, "_CELLS", 7)
        for metric, scores in zip(metrics, whole, strict=True):
            assert same(metric(targets, predicted, weights), scores)


def scores_of(targets, predicted=None, metrics=ONE):
    targets = np.array(targets, np.float64).reshape(-1, 2)
    predicted = np.full((len(targets), 4), 0.1) if predicted is None else predicted
    return {m.name: m.compute(targets, predicted, np.ones((2, len(targets))))[0] for m in metrics}


def test_nobody_or_nobody_known_or_nobody_weighted_is_nan():
    for targets in ([], [[np.nan, np.nan]], [[np.nan, 1]], [[3, np.nan]]):
        assert np.isnan(list(scores_of(targets).values())).all()
    weightless = [
        metric(np.array([[3.0, 1], [5, 0]]), np.full((2, 4), 0.1), np.zeros((1, 2)))
        for metric in ONE
    ]
    assert np.isnan(weightless).all()
    assert all(
        m.compute(np.ones((3, 2)), np.ones((3, 4)), np.zeros((0, 3))).shape == (0,) for m in ONE
    )


def test_discrimination_without_pairs_is_nan_but_not_error():
    followed_all = scores_of([[11, 0], [12, 0]])
    assert np.isnan([followed_all[name] for name in (*CONCORDANCES, "auroc")]).all()
    assert followed_all["calibration"] == pytest.approx(0.5 * (0.1 + 0.1))
    assert followed_all["ibs"] > 0
    assert np.isnan([scores_of([[3, 1], [3, 1]])[name] for name in CONCORDANCES]).all()
    late = scores_of(
        [[10.5, 1], [12, 0], [11, 0]]
    )  # events after the window's end are not asked for
    assert np.isnan([late[name] for name in (*CONCORDANCES, "auroc")]).all()


def test_all_is_nan_where_everybody_is_censored_before():
    assert np.isnan(list(scores_of([[0.5, 0], [0.7, 0], [0.9, 0]]).values())).all()


def test_the_brier_score_is_averaged_over_followed_days():
    data = [[2, 1], [3, 1], [5.5, 0], [5.5, 0]]
    short = survival_metrics(TIMES, (1, 5.5), (4,))
    assert scores_of(data)["ibs"] == pytest.approx(scores_of(data, metrics=short)["ibs"], rel=0.02)
    assert scores_of([[2, 1], [3, 1]])["ibs"] > 0.5  # none is censored: known until the end


def test_the_auroc_of_rivals_is_nan_once_nobody_is_followed():
    targets = np.array([[1.0, 1], [2, 2], [3, 0], [3, 0]])
    predicted = np.random.default_rng(0).random((4, 8))
    at_3, at_4 = (survival_metrics(TIMES, (1, 10), (day,), num_events=2)[3] for day in (3, 4))
    assert np.isfinite(at_3(targets, predicted))
    assert np.isnan(at_4(targets, predicted))


def test_weights_that_round_leave_no_trace_of_patients():
    targets, predicted = np.array([[2.0, 1], *[[5, 0]] * 6]), np.full((7, 4), 0.1)
    weights = np.array(
        [[4, 6, 7, 1, 7, 4, 5.0]]
    )  # tenths of the last six add up to more from behind
    for metric in ONE:
        assert same(metric(targets, predicted, weights * 0.1), metric(targets, predicted, weights))


def test_a_whole_day_of_the_window_is_that_day():
    assert 22 not in np.linspace(1, 29, 101)
    targets = np.array([[22.0, 0], [22, 0], [9, 1], [40, 0], [40, 1]])
    predicted = np.outer([5, 4, 3, 2, 1], TIMES) / 100
    days = np.round(np.linspace(1, 29, 101), 6)
    daily = [survival_metrics(TIMES, (day, day), (4,))[2](targets, predicted) for day in days]
    window = survival_metrics(TIMES, (1, 29), (4,))[2](targets, predicted)
    assert window == pytest.approx(np.mean([(a + b) / 2 for a, b in pairwise(daily)]), abs=1e-12)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_a_prediction_that_is_no_number_leaves_all_undefined(wrong):
    predicted = np.full((2, 4), 0.1)
    predicted[1, 2] = wrong
    assert np.isnan([metric(np.array([[3.0, 1], [5, 0]]), predicted) for metric in ONE]).all()


def test_an_event_on_the_last_day_counts():
    curves = np.outer([2, 1], TIMES) / 100
    found = scores_of([[10, 1], [10, 0]], curves)
    assert found["antolini_c"] == found["uno_c"] == 1


def test_single_precision_scores_as_double_does():
    rng = np.random.default_rng(0)
    targets = np.stack([rng.integers(1, 12, 50), rng.integers(0, 2, 50)], axis=1).astype(float)
    single = np.sort(rng.random((50, 4)), axis=1).astype(np.float32)
    assert [m(targets, single) for m in ONE] == [m(targets, single.astype(np.float64)) for m in ONE]


def test_without_horizons_risks_are_those_of_the_windows_end():
    data = (
        np.array([[3.0, 1], [5, 0], [9, 1], [11, 0]]),
        np.sort(np.random.default_rng(1).random((4, 4))),
    )
    without, with_end = (survival_metrics(TIMES, (1, 10), horizons) for horizons in ((), (10,)))
    assert [m(*data) for m in without] == [m(*data) for m in with_end]


def test_curves_of_nobody_start_and_stay_where_they_are():
    nothing = np.array([np.nan]), np.array([1.0])
    assert [part.tolist() for part in survival.kaplan_meier(*nothing)] == [[0], [1]]
    assert [part.tolist() for part in survival.aalen_johansen(*nothing, 1)] == [[0], [0]]
    assert survival.numbers_at_risk(nothing[0], [1, 2]).tolist() == [0, 0]


@pytest.mark.parametrize("metrics", [ONE, TWO])
def test_all_that_a_page_says_is_there(metrics):
    assert [metric.name for metric in metrics] == [
        "antolini_c",
        "uno_c",
        "ibs",
        "auroc",
        "calibration",
    ]
    assert [metric.higher_is_better for metric in metrics] == [True, True, False, True, False]
    assert all(metric.title and metric.meaning.endswith(".") for metric in metrics)
    assert all(("2 kinds" in metric.meaning) == (metrics is TWO) for metric in metrics)


def test_hundreds_of_weightings_take_seconds():
    rng = np.random.default_rng(2)
    targets = np.stack([np.ceil(rng.exponential(6, 1000)), rng.random(1000) < 0.4], axis=1)
    weights = rng.multinomial(1000, np.full(1000, 1e-3), size=300).astype(float)
    start = time.process_time()
    for metric in ONE:
        metric(targets, np.sort(rng.random((1000, 4)), axis=1), weights)
    assert time.process_time() - start < 5
