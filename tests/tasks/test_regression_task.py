"""A value and its interval: losses agree with libraries, scales come from the training labels."""

import numpy as np
import pytest
import torch
from sklearn.metrics import mean_pinball_loss
from torch.nn import GaussianNLLLoss

from clintune.core.errors import ConfigError, DataError
from clintune.tasks.regression import Regression
from clintune.testing import check_task

VALUES = np.random.default_rng(0).normal(50, 10, (200, 1)).astype(np.float32)
WITH_UNKNOWN = np.vstack([VALUES[:30], [[np.nan]]])
CHECKS = [
    pytest.param(run, id=f"{loss}-{name}")
    for loss in ("gaussian", "quantile")
    for name, run in check_task(lambda loss=loss: Regression(label="x", loss=loss), WITH_UNKNOWN)
]


def fitted(**settings):
    task = Regression(label="x", **settings)
    task.fit(VALUES)
    return task


@pytest.mark.parametrize("check", CHECKS)
def test_contract(check):
    check()


def test_the_gaussian_loss_is_the_likelihood():
    task = fitted()
    outputs = torch.randn(200, 2, generator=torch.Generator().manual_seed(0)) / 10
    state = task.state()
    values = (torch.from_numpy(VALUES[:, 0]) - state["center"]) / state["scale"]
    variance = (5 * torch.tanh(outputs[:, 1] / 5)).exp() ** 2
    expected = GaussianNLLLoss(reduction="sum")(outputs[:, 0], values, variance)
    loss, count = task.loss(outputs, torch.from_numpy(VALUES))
    assert count == 200
    assert loss.item() == pytest.approx(expected.item(), rel=1e-4)


def test_the_quantile_loss_is_that_of_scikit_learn():
    task = fitted(loss="quantile", interval=0.8)
    outputs = torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
    value, low, high = task.predict(outputs).numpy().T
    ends = [(value, 0.5), (low, 0.1), (high, 0.9)]
    expected = sum(mean_pinball_loss(VALUES[:, 0], end, alpha=level) for end, level in ends)
    loss, count = task.loss(outputs, torch.from_numpy(VALUES))
    assert loss.item() / count.item() * task.state()["scale"] == pytest.approx(expected, rel=1e-4)
    assert (low < value).all()
    assert (value < high).all()


def test_without_outputs_it_predicts_those_of_training():
    value, low, high = fitted().predict(torch.zeros(1, 2))[0].tolist()
    assert value == pytest.approx(50, abs=1.5)
    assert [low, high] == pytest.approx(np.quantile(VALUES, [0.05, 0.95]), abs=3)


def test_outliers_do_not_move_the_scale():
    with_outliers = VALUES.copy()
    with_outliers[:3] = 1e6
    task = Regression(label="x")
    task.fit(with_outliers)
    assert task.state()["scale"] == pytest.approx(fitted().state()["scale"], rel=0.1)


def test_values_that_are_all_the_same_are_refused():
    with pytest.raises(DataError, match="all training values are the same"):
        Regression(label="x").fit(np.full((20, 1), 3, np.float32))


@pytest.mark.parametrize("settings", [{"interval": 1.0}, {"interval": 90}, {"loss": "mse"}])
def test_settings_that_cannot_be_are_refused(settings):
    with pytest.raises(ConfigError, match=r"^(interval|loss) "):
        Regression(label="x", **settings)


@pytest.mark.parametrize(
    "state", [{}, {"center": 0.0, "scale": 0.0}, {"center": float("nan"), "scale": 1.0}]
)
def test_a_state_that_is_none_is_refused(state):
    with pytest.raises(ValueError, match="does not hold"):
        Regression(label="x").load_state(state)
