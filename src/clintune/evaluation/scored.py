"""Predictions together with what scores and counts them."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clintune.contracts import Predictions
from clintune.metrics import Metric
from clintune.tasks.base import Task
from clintune.tasks.questions import BinaryView

Floats = NDArray[np.float64]
Float32s = NDArray[np.float32]


def num_yes(targets: Float32s) -> NDArray[np.int64]:
    """Return how many of each sample's yes-or-no targets [N, T] are yes [N]."""
    yes: NDArray[np.int64] = (targets == 1).sum(axis=1)
    return yes


class Scored(NamedTuple):
    """Predictions, the metrics that score them, and how many of each sample's targets are positive.

    `positives` turns targets [N, T] into counts [N], or None where no answer is the positive one.
    """

    predictions: Predictions
    metrics: Sequence[Metric]
    positives: Callable[[Float32s], NDArray[np.int64] | None] = num_yes

    def score(self, targets: Float32s, predicted: Float32s, weights: Floats) -> dict[str, Floats]:
        """Return each metric of some samples under R weightings [R, N], as [R] values."""
        return {metric.name: metric(targets, predicted, weights) for metric in self.metrics}

    def of(self, predictions: Predictions) -> "Scored":
        """Return other predictions of the same task, scored alike."""
        return self._replace(predictions=predictions)


def of_task(predictions: Predictions, task: Task) -> Scored:
    """Return predictions of a task with its own metrics."""
    return Scored(predictions, task.metrics, task.positives)


def of_tasks(
    predictions: Mapping[str, Predictions], tasks: Mapping[str, Task]
) -> dict[str, Scored]:
    """Return the predictions of several tasks, each with its own metrics."""
    return {name: of_task(part, tasks[name]) for name, part in predictions.items()}


def of_view(predictions: Predictions, view: BinaryView, metrics: Sequence[Metric]) -> Scored:
    """Return the predictions of a task as answers to one yes-or-no question of it."""
    return Scored(view.of(predictions), metrics)
