import numpy as np
import pytest
from sklearn.metrics import confusion_matrix

from clintune.evaluation.analyses.operating_points import operating_points, thresholds
from helpers.made_up_predictions import predictions_of


def predictions(size, seed):
    rng = np.random.default_rng(seed)
    targets = rng.random(size) < 0.3
    risks = 1 / (1 + np.exp(-(rng.normal(size=size) + 2 * targets - 1)))
    return predictions_of(targets, risks)


def test_scores_are_those_of_the_confusion_matrix():
    tuning, held_out = predictions(400, 0), predictions(500, 1)
    points = operating_points(tuning, held_out, replicates=50)
    assert [point["aim"] for point in points] == ["sensitivity 90%", "specificity 90%", "Youden"]

    for point in points:
        flagged = held_out.predicted[:, 0] >= point["threshold"]
        (tn, fp), (fn, tp) = confusion_matrix(held_out.targets[:, 0], flagged)
        expected = {
            "sensitivity": tp / (tp + fn),
            "specificity": tn / (tn + fp),
            "PPV": tp / (tp + fp),
            "NPV": tn / (tn + fn),
        }
        assert {name: score["value"] for name, score in point["scores"].items()} == pytest.approx(
            expected
        )
        assert all(
            score["low"] <= score["value"] <= score["high"] for score in point["scores"].values()
        )


def test_thresholds_reach_what_they_aim_at_and_no_further():
    part = predictions(400, 0)
    truth, risks = part.targets[:, 0] == 1, part.predicted[:, 0]
    chosen = thresholds(truth, risks)
    sensitive, specific = chosen["sensitivity 90%"], chosen["specificity 90%"]
    assert (risks[truth] >= sensitive).mean() >= 0.9 > (risks[truth] >= sensitive + 0.01).mean()
    assert (risks[~truth] < specific).mean() >= 0.9 > (risks[~truth] < specific - 0.01).mean()
    grid = np.arange(0.1, 1, 0.01, np.float32)
    index = [(risks[truth] >= t).mean() + (risks[~truth] < t).mean() for t in grid]
    assert grid[np.argmax(index)] == pytest.approx(chosen["Youden"])


@pytest.mark.parametrize("shift", [0.0, -4.0])
def test_no_threshold_is_the_risk_of_one_patient(shift):
    part = predictions(400, 0)
    truth, logits = (
        part.targets[:, 0] == 1,
        np.log(part.predicted[:, 0] / (1 - part.predicted[:, 0])),
    )
    risks = (1 / (1 + np.exp(-(logits + shift)))).astype(np.float32)
    for threshold in thresholds(truth, risks).values():
        assert np.float32(threshold) == np.float32(f"{threshold:.1e}")
        assert np.float32(threshold) not in risks


def test_of_equal_risks_none_is_positive_at_a_specificity():
    truth, risks = np.arange(40) < 20, np.full(40, 0.5, np.float32)
    assert thresholds(truth, risks)["specificity 90%"] > 0.5


def test_few_samples_give_no_points_and_no_scores():
    tuning, held_out = predictions(400, 0), predictions(20, 1)
    assert operating_points(predictions(20, 0), held_out) == []
    points = operating_points(tuning, held_out, replicates=10)
    assert all("sensitivity" not in point["scores"] for point in points)
    assert all("specificity" in point["scores"] for point in points)
