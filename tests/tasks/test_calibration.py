from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from clintune.core.errors import PackageError
from clintune.evaluation.subjects import take
from clintune.metrics.classification import auroc, brier, multiclass_log_loss
from clintune.package.calibrations import read_calibrations, write_calibrations
from clintune.tasks.binary import Binary
from clintune.tasks.calibration import (
    ALPHA,
    Calibration,
    coarse,
    fit_calibration,
    score_calibration,
)
from clintune.tasks.multiclass import Multiclass
from clintune.tasks.multilabel import Multilabel
from clintune.tasks.questions import one_of, yes_or_no
from helpers.made_up_predictions import predictions_of

BINARY = Binary(label="outcome")
CLASSES = Multiclass(label="ward", classes=["a", "b", "c"])


def overconfident(size, seed=0, slope=3.0, shift=1.0):
    """Return predictions whose logits are `slope` times the true ones plus `shift`."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=size)
    targets = rng.random(size) < sigmoid(logits)
    return predictions_of(targets, sigmoid(slope * logits + shift))


def sigmoid(values):
    return 1 / (1 + np.exp(-values))


def drawn_classes(size, seed, sharpness):
    """Return predictions of three classes whose logits are `sharpness` times the true ones."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(size, 3))
    shares = [
        np.exp(s * logits) / np.exp(s * logits).sum(1, keepdims=True) for s in (1.0, sharpness)
    ]
    targets = (rng.random((size, 1)) > shares[0].cumsum(1)).sum(1)
    return predictions_of(targets, shares[1])


def test_platts_scaling_is_sklearns_on_smoothed_targets():
    part = overconfident(300)
    logit = np.log(part.predicted / (1 - part.predicted)).astype(np.float64)
    positive = part.targets[:, 0] == 1
    counts = positive.sum(), (~positive).sum()
    soft = np.where(positive, (counts[0] + 1) / (counts[0] + 2), 1 / (counts[1] + 2))
    reference = LogisticRegression(C=1e8, tol=1e-10).fit(
        np.r_[logit, logit], np.repeat([1, 0], 300), sample_weight=np.r_[soft, 1 - soft]
    )
    fitted = fit_calibration(part, BINARY)
    assert fitted.slope[0] == pytest.approx(reference.coef_.item(), abs=1e-4)
    assert fitted.intercept[0] == pytest.approx(reference.intercept_.item(), abs=1e-4)
    assert fitted.apply(part.predicted)[:, 0] == pytest.approx(
        reference.predict_proba(logit)[:, 1], abs=1e-5
    )


def test_calibration_undoes_a_distortion_and_keeps_the_order():
    tuning, fresh = overconfident(20_000), overconfident(20_000, seed=1)
    fitted = fit_calibration(tuning, BINARY)
    assert fitted.slope[0] == pytest.approx(1 / 3, abs=0.02)
    assert fitted.intercept[0] == pytest.approx(-1 / 3, abs=0.03)
    after = fitted.apply(fresh.predicted)
    assert brier(fresh.targets, after) < brier(fresh.targets, fresh.predicted)
    assert auroc(fresh.targets, after) == pytest.approx(
        auroc(fresh.targets, fresh.predicted), abs=1e-4
    )


def test_the_temperature_has_the_least_log_loss_of_a_fine_grid():
    part = drawn_classes(5000, 0, sharpness=2.5)
    fitted = fit_calibration(part, CLASSES)
    logs = np.log(part.predicted.astype(np.float64))

    def loss(slope):
        powers = np.exp(slope * logs)
        return multiclass_log_loss(part.targets, powers / powers.sum(1, keepdims=True))

    best = min(np.arange(0.2, 3, 0.001), key=loss)
    assert fitted.slope[0] == pytest.approx(best, abs=5e-3)
    assert fitted.slope[0] == pytest.approx(1 / 2.5, abs=0.02)
    assert fitted.apply(part.predicted).sum(1) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("draw", [overconfident, lambda size, seed: drawn_classes(size, seed, 2.0)])
def test_each_answers_prediction_set_covers_fresh_samples_of_it(draw):
    task = BINARY if draw is overconfident else CLASSES
    rates = {answer: [] for answer in range(2 if draw is overconfident else 3)}
    for seed in range(60):
        fitted = fit_calibration(draw(150, seed), task)
        fresh = draw(2000, seed + 1000)
        after = fitted.apply(fresh.predicted)
        by_answer = np.c_[1 - after, after] if draw is overconfident else after
        for answer, covered in rates.items():
            own = fresh.targets[:, 0] == answer
            covered.append((by_answer[own, answer] >= np.float32(fitted.floors[0][answer])).mean())
    for covered in rates.values():
        assert 1 - ALPHA - 0.01 <= np.mean(covered) <= 1 - ALPHA + 0.04


def test_no_floor_is_the_probability_of_one_patient():
    part = overconfident(4000)
    fitted = fit_calibration(part, BINARY)
    after = fitted.apply(part.predicted)[:, 0]
    for answer, values in enumerate((1 - after, after)):
        own = np.sort(values[part.targets[:, 0] == answer])
        exact, floor = own[int(ALPHA * (len(own) + 1)) - 1], fitted.floors[0][answer]
        assert floor == float(f"{floor:.1e}")
        assert np.float32(floor) not in values
        assert 0.9 * exact <= floor <= exact


@given(st.lists(st.floats(0, 1, width=32), min_size=1))
def test_rounding_never_raises_a_probability(values):
    exact = np.array(values, np.float32)
    assert (coarse(exact).astype(np.float32) <= exact).all()
    assert (coarse(exact, 2).astype(np.float32) > exact).all()
    assert (coarse(exact) >= 0).all()


def test_it_abstains_where_both_answers_or_none_are_plausible():
    fitted = Calibration(
        exclusive=False,
        slope=(1.0,),
        intercept=(0.0,),
        floors=((0.3, 0.4),),
        reasons=(None,),
    )
    risks = np.array([[0.1], [0.39], [0.5], [0.71], [0.9]], np.float32)
    assert fitted.abstains(risks)[:, 0].tolist() == [False, False, True, False, False]
    narrow = Calibration(
        exclusive=False, slope=(1.0,), intercept=(0.0,), floors=((0.8, 0.8),), reasons=(None,)
    )
    assert narrow.abstains(risks)[:, 0].tolist() == [False, True, True, True, False]


@given(separation=st.floats(0.01, 0.499), size=st.integers(20, 60))
def test_perfectly_separated_samples_give_a_finite_rising_curve(separation, size):
    part = predictions_of(
        [0] * size + [1] * size, [0.5 - separation] * size + [0.5 + separation] * size
    )
    fitted = fit_calibration(part, BINARY)
    after = fitted.apply(part.predicted)[:, 0]
    assert 0 < fitted.slope[0] < 1e4
    assert after[0] == pytest.approx(1 / (size + 2), abs=1e-4)
    assert after[-1] == pytest.approx((size + 1) / (size + 2), abs=1e-4)


@pytest.mark.parametrize("risk", [0.0, 0.3, 1.0])
def test_constant_predictions_become_the_base_rate(risk):
    part = predictions_of([0] * 60 + [1] * 20, [risk] * 80)
    assert fit_calibration(part, BINARY).apply(part.predicted) == pytest.approx(0.25, abs=0.02)


def test_a_reversed_ranking_never_gives_a_falling_curve():
    part = overconfident(500)
    turned = predictions_of(1 - part.targets, part.predicted)
    fitted = fit_calibration(turned, BINARY)
    assert fitted.slope == (0.0,)
    assert fitted.apply(part.predicted) == pytest.approx(turned.targets.mean(), abs=0.01)


def test_too_few_labels_leave_an_output_as_it_is_and_say_why():
    part = overconfident(400)
    rare = np.where(np.arange(400) < 10, 1.0, 0.0)
    several = predictions_of(
        np.c_[part.targets, rare, np.full(400, np.nan)], np.repeat(part.predicted, 3, axis=1)
    )
    fitted = fit_calibration(
        several, Multilabel(label="all", phenotypes=["common", "rare", "unknown"])
    )
    assert fitted.reasons[0] is None
    assert fitted.reasons[1] == "fewer than 20 tuning samples are labelled yes"
    assert fitted.reasons[2] == "fewer than 20 tuning samples are labelled no"
    assert fitted.floors[1:] == ((0.0, 0.0), (0.0, 0.0))

    after = fitted.apply(several.predicted)
    assert np.array_equal(after[:, 1:], several.predicted[:, 1:])
    assert not np.array_equal(after[:, :1], several.predicted[:, :1])
    assert fitted.abstains(after)[:, 0].any()
    assert not fitted.abstains(after)[:, 1:].any()


def test_unknown_targets_change_nothing():
    part = overconfident(200)
    more = predictions_of(
        np.r_[part.targets[:, 0], [np.nan] * 5], np.r_[part.predicted[:, 0], [0.9] * 5]
    )
    assert fit_calibration(more, BINARY) == fit_calibration(part, BINARY)


@pytest.mark.parametrize("exclusive", [False, True])
def test_the_identity_changes_no_bit_and_never_abstains(exclusive):
    probabilities = np.array([[0.0, 0.2, 0.8], [1.0, 0.0, 0.0]], np.float32)
    identity = Calibration.identity(one_of("abc") if exclusive else yes_or_no("abc"))
    assert np.array_equal(identity.apply(probabilities), probabilities)
    assert identity.abstains(probabilities).shape == (2, 1 if exclusive else 3)
    assert not identity.abstains(probabilities).any()


def test_calibrations_are_the_same_after_writing_and_reading(tmp_path):
    fitted = {
        "outcome": fit_calibration(overconfident(100), BINARY),
        "ward": fit_calibration(drawn_classes(300, 0, 2.0), CLASSES),
    }
    write_calibrations(tmp_path / "calibration.json", fitted)
    assert read_calibrations(tmp_path / "calibration.json") == fitted


@pytest.mark.parametrize(
    "text", ["", "[]", '{"outcome": {}}', '{"outcome": {"slope": [1]}}', '{"outcome": 3}']
)
def test_what_is_no_calibration_is_refused(tmp_path, text):
    (tmp_path / "calibration.json").write_text(text)
    with pytest.raises(PackageError, match=r"no calibrations|not JSON"):
        read_calibrations(tmp_path / "calibration.json")


def test_scores_count_the_withheld_and_errors_of_the_rest():
    part = predictions_of([0, 1, 1, np.nan, 0], [0.2, 0.3, 0.9, 0.9, 0.5])
    fitted = Calibration(
        exclusive=False, slope=(1.0,), intercept=(0.0,), floors=((0.4, 0.4),), reasons=(None,)
    )
    scores = score_calibration(part, [fitted], BINARY)
    assert scores["abstained"] == pytest.approx(1 / 4)
    assert scores["error"] == pytest.approx(1 / 3)
    assert scores["before"] == scores["after"]
    assert scores["before"]["brier"] == pytest.approx((0.04 + 0.49 + 0.01 + 0.25) / 4)


def test_each_fold_is_scored_under_its_own_calibration():
    part = overconfident(400)
    folds = replace(part, fold=np.arange(400) % 2)
    fitted = [fit_calibration(take(folds, folds.fold == fold), BINARY) for fold in range(2)]
    after = np.empty_like(part.predicted)
    for fold in range(2):
        after[fold::2] = fitted[fold].apply(part.predicted[fold::2])
    assert score_calibration(folds, fitted, BINARY)["after"]["brier"] == pytest.approx(
        brier(part.targets, after)
    )
