"""The probe is logistic regression with the penalty chosen by subject."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from clintune.training.probe import NUM_FOLDS, PENALTIES, fit_output, logistic_path, subject_folds


def data(num, width, seed=0):
    draw = np.random.default_rng(seed)
    features = draw.standard_normal((num, width)) / np.sqrt(width)
    truth = draw.standard_normal(width) * 3
    targets = (draw.random(num) < 1 / (1 + np.exp(-(features @ truth) - 0.5))).astype(float)
    return torch.from_numpy(features), torch.from_numpy(targets)


@pytest.mark.parametrize(("num", "width"), [(300, 20), (60, 200)])
def test_every_penalty_gives_sklearns_logistic_regression(num, width):
    features, targets = data(num, width)
    for inverse, (weights, bias) in zip(PENALTIES, logistic_path(features, targets), strict=True):
        reference = LogisticRegression(C=inverse, tol=1e-10, max_iter=10_000).fit(features.numpy(), targets.numpy())
        np.testing.assert_allclose(weights.numpy(), reference.coef_[0], atol=2e-4)
        assert bias == pytest.approx(reference.intercept_[0], abs=2e-4)


def test_the_penalty_is_the_one_with_the_least_held_out_log_loss():
    features, targets = data(200, 50)
    fold = torch.arange(200) % NUM_FOLDS
    losses = np.zeros(len(PENALTIES))
    for i, inverse in enumerate(PENALTIES):
        for k in range(NUM_FOLDS):
            train, test = (fold != k).numpy(), (fold == k).numpy()
            model = LogisticRegression(C=inverse, tol=1e-10, max_iter=10_000).fit(features[train], targets[train])
            chance = model.predict_proba(features[test])[:, 1]
            losses[i] -= np.log(np.where(targets[test] == 1, chance, 1 - chance)).sum()
    weights, _ = fit_output(features, targets, fold)
    best = logistic_path(features, targets)[int(losses.argmin())][0]
    torch.testing.assert_close(weights, best)


def test_no_subject_is_in_two_folds_and_folds_are_even():
    subject = np.repeat(np.arange(41), np.arange(41) % 3 + 1)
    fold = subject_folds(subject, 7).numpy()
    assert all(len(set(fold[subject == s])) == 1 for s in range(41))
    sizes = np.bincount([fold[subject == s][0] for s in range(41)])
    assert sizes.max() - sizes.min() <= 1


def test_a_fold_without_one_of_the_classes_is_passed_over():
    features, targets = data(40, 5)
    weights, bias = fit_output(features, targets, torch.where(targets == 1, 0, 1))
    assert weights.isfinite().all()
    assert np.isfinite(bias)
