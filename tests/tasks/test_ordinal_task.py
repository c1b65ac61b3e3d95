"""Ordered classes: cumulative probabilities keep their order, and two classes are a yes or no."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from clintune.core.errors import ConfigError
from clintune.tasks.ordinal import Ordinal
from clintune.testing import check_task

STAGES = ["none", "mild", "severe", "worst"]
TARGETS = np.random.default_rng(0).choice(4, (300, 1), p=[0.5, 0.2, 0.2, 0.1]).astype(np.float32)
WITH_UNKNOWN = np.vstack([TARGETS[:30], [[np.nan]]])
CHECKS = check_task(lambda: Ordinal(label="x", classes=STAGES), WITH_UNKNOWN)


@pytest.mark.parametrize("check", [pytest.param(run, id=name) for name, run in CHECKS])
def test_contract(check):
    check()


@given(arrays(np.float32, (5, 3), elements=st.floats(-50, 50, width=32)))
def test_probabilities_are_of_ordered_classes(outputs):
    task = Ordinal(label="x", classes=STAGES)
    task.fit(TARGETS)
    chances = task.predict(torch.from_numpy(outputs)).numpy()
    assert (chances >= 0).all()
    assert chances.sum(axis=1) == pytest.approx(1, abs=1e-5)


def test_without_outputs_the_classes_have_their_training_shares():
    task = Ordinal(label="x", classes=STAGES)
    task.fit(TARGETS)
    chances = task.predict(torch.zeros(1, 3))[0].numpy()
    assert chances == pytest.approx(np.bincount(TARGETS[:, 0].astype(int)) / 300, abs=0.02)


def test_two_classes_are_a_logistic_yes_or_no():
    task = Ordinal(label="x", classes=["no", "yes"])
    outputs = torch.tensor([[-1.0], [2.0]])
    assert task.predict(outputs)[:, 1].tolist() == pytest.approx(
        torch.sigmoid(outputs[:, 0]).tolist()
    )
    loss, count = task.loss(outputs, torch.tensor([[0.0], [1.0]]))
    expected = torch.nn.functional.binary_cross_entropy_with_logits(
        outputs[:, 0], torch.tensor([0.0, 1.0]), reduction="sum"
    )
    assert count == 2
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_decision_is_the_median_class():
    task = Ordinal(label="x", classes=STAGES)
    assert task.decisions(np.array([[0.4, 0.05, 0.25, 0.3]], np.float32)) == ["severe"]


@pytest.mark.parametrize("classes", [["a"], ["a", "a"], []])
def test_classes_that_have_no_order_are_refused(classes):
    with pytest.raises(ConfigError, match="two or more, each named once"):
        Ordinal(label="x", classes=classes)


@pytest.mark.parametrize("state", [{}, {"classes": STAGES}, {"classes": STAGES, "base": [0.0]}])
def test_a_state_that_is_none_is_refused(state):
    with pytest.raises(ValueError, match="hold"):
        Ordinal(label="x", classes=STAGES).load_state(state)
