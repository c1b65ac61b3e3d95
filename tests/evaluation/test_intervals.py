"""The bootstrap: known coverage, subjects as folds, folds, pairing, and reproducibility."""

from dataclasses import astuple, replace
from datetime import datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from clintune.contracts import Predictions
from clintune.core.errors import DataError
from clintune.evaluation.intervals import (
    MEAN,
    bootstrap,
    fold_values,
    intervals,
    paired_differences,
)
from clintune.evaluation.scored import Scored, of_task
from clintune.metrics import classification as metrics
from clintune.metrics.regression import r2
from clintune.tasks.binary import Binary
from clintune.tasks.multiclass import Multiclass
from clintune.tasks.multilabel import Multilabel

TASK = Binary(label="x")


def columns(values):
    values = np.asarray(values, np.float32)
    return values[:, None] if values.ndim == 1 else values


def make(targets, probabilities, subjects=None, fold=None, cohort=None):
    n = len(targets)
    subjects = np.arange(n) if subjects is None else subjects
    return Predictions(
        cohort=np.full(n, "a") if cohort is None else cohort,
        subject_id=np.asarray(subjects, np.int64),
        prediction_time=[datetime(2020, 1, 1) + timedelta(hours=i) for i in range(n)],
        fold=np.zeros(n, np.int64) if fold is None else np.asarray(fold, np.int64),
        targets=columns(targets),
        predicted=columns(probabilities),
    )


def draw(rng, n, shift=1.0, **other):
    targets = (rng.random(n) < 0.4).astype(float)
    return make(targets, 1 / (1 + np.exp(-(rng.normal(size=n) + shift * targets))), **other)


def scored(predictions, task=TASK):
    return {"x": of_task(predictions, task)}


def test_the_interval_of_a_brier_score_covers_in_95_of_100():
    rng = np.random.default_rng(0)
    covered = 0
    for study in range(200):
        targets = (rng.random(120) < 0.5).astype(float)
        interval = intervals(scored(make(targets, np.full(120, 0.3))), replicates=400, seed=study)[
            "x"
        ]["brier"]
        covered += interval.low <= 0.5 * 0.49 + 0.5 * 0.09 <= interval.high
    assert 183 <= covered <= 198


def test_the_bootstrap_agrees_with_resampling_by_hand():
    rng = np.random.default_rng(1)
    predictions = draw(rng, 80, subjects=np.repeat(np.arange(40), 2))
    ours = bootstrap(scored(predictions), replicates=2000)["x"]["auroc"]
    assert ours[0] == pytest.approx(
        roc_auc_score(predictions.targets[:, 0], predictions.predicted[:, 0])
    )
    by_hand = []
    for _ in range(2000):
        rows = (rng.integers(0, 40, 40)[:, None] * 2 + [0, 1]).ravel()
        by_hand.append(metrics.auroc(predictions.targets[rows], predictions.predicted[rows]))
    levels = [0.025, 0.5, 0.975]
    np.testing.assert_allclose(
        np.quantile(ours[1:], levels), np.quantile(by_hand, levels), atol=0.02
    )


def test_copies_of_a_subjects_samples_do_not_narrow_its_interval():
    predictions = draw(np.random.default_rng(2), 60)
    copies = make(
        np.repeat(predictions.targets, 5, axis=0),
        np.repeat(predictions.predicted, 5, axis=0),
        subjects=np.repeat(predictions.subject_id, 5),
    )
    once, five = (intervals(scored(p))["x"]["auroc"] for p in (predictions, copies))
    assert (five.low, five.high, five.n_subjects, five.n_samples) == pytest.approx(
        (once.low, once.high, 60, 300)
    )


def test_the_same_number_in_two_cohorts_is_two_subjects():
    numbers, cohorts = np.tile(np.arange(30), 2), np.repeat(["a", "b"], 30)
    predictions = draw(np.random.default_rng(3), 60, subjects=numbers, cohort=cohorts)
    assert intervals(scored(predictions))["x"]["auroc"].n_subjects == 60


def test_with_folds_the_score_is_the_mean_over_folds():
    rng = np.random.default_rng(4)
    fold = np.arange(90) % 3
    predictions = draw(rng, 90, fold=fold)
    rows = [fold == f for f in range(3)]
    parts = [roc_auc_score(predictions.targets[r, 0], predictions.predicted[r, 0]) for r in rows]
    assert intervals(scored(predictions))["x"]["auroc"].value == pytest.approx(np.mean(parts))
    assert [values["x"]["auroc"] for values in fold_values(scored(predictions))] == pytest.approx(
        parts
    )


def test_repeating_the_folds_does_not_narrow_the_interval():
    predictions = draw(np.random.default_rng(5), 90, fold=np.arange(90) % 3)
    again = replace(predictions, fold=predictions.fold + 3)
    both = Predictions(
        **{
            name: getattr(predictions, name) + getattr(again, name)
            if name == "prediction_time"
            else np.concatenate([getattr(predictions, name), getattr(again, name)])
            for name in Predictions.__dataclass_fields__
        }
    )
    for metric, interval in intervals(scored(both))["x"].items():
        assert astuple(interval) == pytest.approx(
            astuple(intervals(scored(predictions))["x"][metric])
        ), metric


def test_the_mean_over_tasks_is_drawn_jointly():
    rng = np.random.default_rng(6)
    one = draw(rng, 70)
    tasks = {"x": of_task(one, TASK), "y": of_task(one, TASK)}
    result = intervals(tasks)
    assert (result[MEAN]["auroc"].low, result[MEAN]["auroc"].high) == pytest.approx(
        (result["x"]["auroc"].low, result["x"]["auroc"].high)
    )
    assert result[MEAN]["auroc"].n_subjects == 70
    assert MEAN not in intervals(scored(one))


def test_counts_are_of_known_labels():
    result = intervals(
        scored(make([1, 0, np.nan, 1], [0.9, 0.1, 0.5, 0.4], subjects=[1, 1, 2, 3]))
    )["x"]["brier"]
    assert (result.n_subjects, result.n_samples, result.n_positive) == (2, 3, 2)
    labels = make([[1, np.nan], [np.nan, np.nan], [1, 1]], np.full((3, 2), 0.5))
    result = intervals(scored(labels, Multilabel(label="x", phenotypes=["a", "b"])))["x"]["brier"]
    assert (result.n_subjects, result.n_samples, result.n_positive) == (2, 2, 3)
    classes = make([0, 1], np.full((2, 2), 0.5))
    result = intervals(scored(classes, Multiclass(label="x", classes=["a", "b"])))["x"]["brier"]
    assert (result.n_samples, result.n_positive) == (2, None)


def test_what_is_undefined_becomes_none_in_json():
    result = intervals(scored(make([0, 0, 0], [0.1, 0.2, 0.3])))["x"]["auroc"].to_json()

    assert result == {
        "value": None,
        "low": None,
        "high": None,
        "n_subjects": 3,
        "n_samples": 3,
        "n_positive": 0,
    }
    assert (
        intervals(scored(make(np.zeros((0, 1)), np.zeros((0, 1)))), replicates=10)["x"][
            "auroc"
        ].n_samples
        == 0
    )


def test_the_difference_of_equal_predictions_is_exactly_zero():
    predictions = draw(np.random.default_rng(7), 50)
    for difference in paired_differences(scored(predictions), scored(predictions))["x"].values():
        assert (difference.value, difference.low, difference.high, difference.p) == (0, 0, 0, 1)


def test_a_paired_difference_is_surer_than_two_intervals():
    rng = np.random.default_rng(8)
    better = draw(rng, 150, shift=1.5)
    noise = rng.normal(scale=0.15, size=(150, 1)).astype(np.float32)
    worse = replace(better, predicted=np.clip(better.predicted + noise, 0, 1))
    difference = paired_differences(scored(better), scored(worse))["x"]["auroc"]
    alone = [intervals(scored(p))["x"]["auroc"] for p in (better, worse)]
    assert difference.value == pytest.approx(alone[1].value - alone[0].value)
    assert difference.low < difference.value < 0
    assert difference.high - difference.low < 0.7 * max(a.high - a.low for a in alone)
    assert 0 < difference.p < 0.1


def test_differences_need_the_same_samples():
    predictions = draw(np.random.default_rng(9), 20)
    with pytest.raises(
        DataError, match="task x: the two sets of predictions are of different samples"
    ):
        paired_differences(
            scored(predictions), scored(replace(predictions, targets=1 - predictions.targets))
        )


def test_the_seed_determines_the_interval():
    predictions = draw(np.random.default_rng(10), 40)
    first, again, other = (
        intervals(scored(predictions), seed=seed)["x"]["auroc"] for seed in (0, 0, 1)
    )
    assert first == again != other


@given(st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_every_interval_holds_its_score(seed):
    rng = np.random.default_rng(seed)
    for score in intervals(scored(draw(rng, 90, fold=np.arange(90) % 3)), replicates=100)[
        "x"
    ].values():
        assert 0 <= score.low <= score.value <= score.high <= 1


@pytest.mark.parametrize("shift", [0.0, 1.5])
def test_a_score_that_may_be_negative_has_negative_bounds(shift):
    rng = np.random.default_rng(0)
    predictions = make(rng.normal(size=60), rng.normal(size=60) + shift)
    score = Scored(predictions, [r2])
    found = intervals({"y": score}, replicates=400)["y"]["r2"]
    draws = bootstrap({"y": score}, replicates=400)["y"]["r2"]
    centred = np.minimum(draws[1:] - draws[1:].mean() + draws[0], draws[1:].max())
    assert found.low == pytest.approx(np.percentile(centred, 2.5))
    assert found.low < found.value < found.high
    assert found.low < 0
