"""The loss of each sample is that of its known answers."""

import numpy as np
import pytest

from clintune.tasks.losses import log_losses
from clintune.tasks.questions import one_of, yes_or_no


def test_losses_are_the_means_over_known_answers():
    targets = np.array([[1, np.nan], [0, 1], [np.nan, np.nan]], np.float32)
    risks = np.array([[0.8, 0.3], [0.8, 0.5], [0.1, 0.1]], np.float32)
    losses = log_losses(yes_or_no(["a", "b"]), targets, risks)
    assert losses[:2] == pytest.approx([-np.log(0.8), -(np.log(0.2) + np.log(0.5)) / 2])
    assert np.isnan(losses[2])


def test_an_impossible_answer_has_a_finite_loss():
    assert np.isfinite(
        log_losses(yes_or_no([""]), np.ones((1, 1), np.float32), np.zeros((1, 1), np.float32))
    ).all()


def test_the_loss_of_a_class_is_that_of_its_probability():
    chances = np.array([[0.1, 0.2, 0.7]] * 2, np.float32)
    losses = log_losses(one_of("abc"), np.array([[2], [np.nan]], np.float32), chances)
    assert losses[0] == pytest.approx(-np.log(0.7))
    assert np.isnan(losses[1])
