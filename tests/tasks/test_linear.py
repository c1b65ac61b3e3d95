"""The linear model of any loss finds what models of that loss find, at any scale of features."""

import numpy as np
import torch

from clintune.tasks.binary import Binary
from clintune.tasks.linear import PENALTIES, ByLoss, YesNo


def drawn(n=300, width=30):
    """Return features [n, width] over four powers of ten, yes-or-no targets [n], weights [n]."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(n, width)) * np.logspace(0, -4, width)
    chance = 1 / (1 + np.exp(-(features[:, :5] * [2, -2, 3, -3, 4]).sum(axis=1)))
    return [
        torch.from_numpy(part)
        for part in (features, (rng.random(n) < chance) * 1.0, rng.integers(1, 4, n) / 2)
    ]


def test_the_model_of_any_loss_is_logistic_regression():
    features, targets, weight = drawn()
    by_loss = ByLoss("binary", 1, Binary(label="x").loss).path(features, targets[:, None], weight)
    own = YesNo().path(features, targets, weight)
    for inverse, (weights, bias), (expected, expected_bias) in zip(
        PENALTIES, by_loss, own, strict=True
    ):
        found, best = (
            inverse * YesNo().loss((features @ w.T + b), targets, weight) + w.pow(2).sum() / 2
            for w, b in ((weights, bias), (expected, expected_bias))
        )
        assert found <= best * (1 + 1e-6), inverse


def test_samples_of_one_weight_count_alike():
    features, targets, weight = drawn()
    model = ByLoss("binary", 1, Binary(label="x").loss)
    logits = features[:, :1]
    expected = YesNo().loss(logits, targets, weight)
    torch.testing.assert_close(
        model.loss(logits, targets[:, None], weight), expected, rtol=1e-4, atol=1e-4
    )
