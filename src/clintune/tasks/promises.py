"""What the methods of a task return, tried on a few training samples before hours are spent."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from clintune.core.errors import ConfigError
from clintune.tasks.base import Float32s, Task

FEW = 8
"""Samples on which tasks are tried."""


def check_tasks(tasks: Mapping[str, Task], targets: Mapping[str, Float32s]) -> None:
    """Raise ConfigError where a fitted task returns what cannot be used.

    `targets` holds a few rows [N, T] of each task's training targets.
    """
    for name, task in tasks.items():
        _check(f"tasks.{name}: {type(task).__name__}", task, targets[name])


def _check(where: str, task: Task, targets: Float32s) -> None:
    outputs = torch.zeros(len(targets), task.num_outputs)

    # Training.
    sums: Any = task.loss(outputs, torch.from_numpy(targets))
    is_pair = isinstance(sums, tuple) and len(sums) == 2
    if not is_pair or not all(isinstance(part, Tensor) and part.ndim == 0 for part in sums):
        said = "the sum of losses and the number of labelled targets, both scalar tensors"
        raise ConfigError(f"{where}.loss must return {said}; it returns {_shape(sums)}")

    # Answers.
    predicted: Any = task.predict(outputs)
    if not isinstance(predicted, Tensor) or predicted.ndim != 2 or len(predicted) != len(outputs):
        raise ConfigError(f"{where}.predict must return [N, P]; it returns {_shape(predicted)}")
    names = task.predicted_names
    if len(names) != predicted.shape[1]:
        raise ConfigError(
            f"{where}.predicted_names has {len(names)} names, and predict returns "
            f"{predicted.shape[1]} columns; name each"
        )

    # Scores.
    answers = predicted.numpy().astype(np.float32)
    losses: Any = task.sample_loss(targets, answers)
    if np.shape(losses) != (len(targets),):
        raise ConfigError(f"{where}.sample_loss must return [N]; it returns {_shape(losses)}")
    weights = np.ones((2, len(targets)))
    for metric in task.metrics:
        values: Any = metric.compute(targets.astype(np.float64), answers, weights)
        if np.shape(values) != (2,):
            said = f"a value for each row of `weights`, [R]; it returns {_shape(values)}"
            raise ConfigError(f"{where}: metric {metric.name} must return {said}")


def _shape(value: Any) -> str:
    if isinstance(value, tuple):
        return f"({', '.join(map(_shape, value))})"
    shape = getattr(value, "shape", None)
    return f"a {type(value).__name__}" + ("" if shape is None else f" of shape {tuple(shape)}")
