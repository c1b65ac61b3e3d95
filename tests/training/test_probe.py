"""The probe is logistic regression with the penalty chosen by subject."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from sklearn.linear_model import LogisticRegression

from clintune.training.probe import (
    NUM_FOLDS,
    PENALTIES,
    column_choices,
    fit_output,
    logistic_path,
    remembered_fit,
    subject_folds,
    subject_weights,
    validation_losses,
)


def data(num, width, seed=0):
    draw = np.random.default_rng(seed)
    features = draw.standard_normal((num, width)) / np.sqrt(width)
    truth = draw.standard_normal(width) * 3
    targets = (draw.random(num) < 1 / (1 + np.exp(-(features @ truth) - 0.5))).astype(float)
    return torch.from_numpy(features), torch.from_numpy(targets)


def weights_of(num):
    return torch.from_numpy(np.random.default_rng(9).uniform(0.2, 2, num))


def sklearns(features, targets, weight, inverse):
    model = LogisticRegression(C=inverse, tol=1e-10, max_iter=10_000)
    return model.fit(features.numpy(), targets.numpy(), sample_weight=weight.numpy())


@pytest.mark.parametrize(("num", "width"), [(300, 20), (60, 200)])
def test_every_penalty_gives_sklearns_logistic_regression(num, width):
    features, targets = data(num, width)
    weight = weights_of(num)
    for inverse, (weights, bias) in zip(PENALTIES, logistic_path(features, targets, weight), strict=True):
        reference = sklearns(features, targets, weight, inverse)
        np.testing.assert_allclose(weights.numpy(), reference.coef_[0], atol=1e-3)
        assert bias == pytest.approx(reference.intercept_[0], abs=1e-3)


def reference_losses(features, targets, weight, fold):
    """Return the held-out log loss of each penalty, by scikit-learn."""
    losses = np.zeros(len(PENALTIES))
    for i, inverse in enumerate(PENALTIES):
        for k in range(NUM_FOLDS):
            train, test = fold != k, fold == k
            model = sklearns(features[train], targets[train], weight[train], inverse)
            chance = model.predict_proba(features[test].numpy())[:, 1]
            losses[i] -= (weight[test].numpy() * np.log(np.where(targets[test] == 1, chance, 1 - chance))).sum()
    return losses


def test_columns_and_penalty_are_those_of_the_least_held_out_loss():
    features, targets = data(200, 12, seed=3)
    noise = torch.from_numpy(np.random.default_rng(4).standard_normal((200, 8)))
    everything, weight, fold = torch.cat([noise, features], dim=1), weights_of(200), torch.arange(200) % NUM_FOLDS
    everything = torch.cat([everything, torch.zeros(200, 1)], dim=1)
    choices = [list(range(8)), list(range(20)), list(range(8, 21)), list(range(8, 12))]
    losses = [reference_losses(everything[:, choice], targets, weight, fold) for choice in choices]
    found = [validation_losses(everything[:, choice], targets, weight, fold) for choice in choices]
    np.testing.assert_allclose(torch.stack(found).numpy(), np.stack(losses), rtol=1e-3)
    choice, penalty = divmod(int(np.argmin(losses)), len(PENALTIES))
    assert choice == 2
    weights, bias = fit_output(everything, targets, weight, choices, fold)
    reference = sklearns(features, targets, weight, PENALTIES[penalty])
    assert not weights[:8].any()
    np.testing.assert_allclose(weights[8:20].numpy(), reference.coef_[0], atol=1e-3)
    assert weights[20] == 0
    assert bias == pytest.approx(reference.intercept_[0], abs=1e-3)


def test_a_fit_is_remembered_and_any_other_argument_is_another_fit(tmp_path):
    features, targets = data(80, 6)
    arguments = [features, targets, weights_of(80), [range(6), range(3)], torch.arange(80) % NUM_FOLDS]
    weights, bias = fit_output(*arguments)
    for _ in range(2):
        found, found_bias = remembered_fit(*arguments, tmp_path)
        assert torch.equal(found, weights)
        assert found_bias == bias
    (kept,) = (tmp_path / "statistics").glob("*.safetensors")
    save_file({"weights": torch.zeros(6), "bias": torch.zeros(())}, kept)
    assert not remembered_fit(*arguments, tmp_path)[0].any()
    for place, other in enumerate([features + 1e-9, 1 - targets, weights_of(80) * 2, [range(3)], arguments[4].flip(0)]):
        changed = [*arguments[:place], other, *arguments[place + 1 :]]
        assert torch.equal(remembered_fit(*changed, tmp_path)[0], fit_output(*changed)[0])


def test_choices_of_modalities_are_combined_side_by_side():
    assert column_choices([[[0, 1]], [[0], [1, 2]]], [2, 3]) == [[0, 1, 2], [0, 1, 3, 4]]


def test_subjects_weigh_alike_whatever_their_number_of_samples():
    subject = np.array([7, 7, 7, 2, 9, 9])
    weight = subject_weights(subject).numpy()
    assert weight.mean() == pytest.approx(1)
    np.testing.assert_allclose([weight[subject == s].sum() for s in (2, 7, 9)], 2)


def test_no_subject_is_in_two_folds_and_classes_are_spread_evenly():
    subject = np.repeat(np.arange(41), np.arange(41) % 3 + 1)
    positive = np.arange(41) % 4 == 0
    fold = subject_folds(subject, positive[subject].astype(np.float32), 7).numpy()
    assert all(len(set(fold[subject == s])) == 1 for s in range(41))
    of_subject = np.array([fold[subject == s][0] for s in range(41)])
    for group in (positive, ~positive):
        sizes = np.bincount(of_subject[group], minlength=NUM_FOLDS)
        assert sizes.max() - sizes.min() <= 1


def test_a_fold_without_one_of_the_classes_is_passed_over():
    features, targets = data(40, 5)
    weights, bias = fit_output(features, targets, torch.ones(40).double(), [range(5)], torch.where(targets == 1, 0, 1))
    assert weights.isfinite().all()
    assert np.isfinite(bias)
