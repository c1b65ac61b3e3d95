"""What a task is: where its labels stand, what its head answers, how the answer is scored."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import polars as pl
from numpy.typing import NDArray
from torch import Tensor

from clintune.metrics import Metric


class Task(ABC):
    """Base of every task.

    `label` names `labels/<label>.parquet` (or the folder `labels/<label>/`) of a cohort, see `cohort.labels`; a cohort
    that lacks it has no labels for the task. `weight` scales the task's mean loss. Outputs are raw logits [N, O].
    """

    scoring: ClassVar[Mapping[str, Metric]]
    """How answers are scored, by the name that `trainer.metric` and metrics.json use."""

    def __init__(self, *, label: str, weight: float = 1.0) -> None:
        self.label = label
        self.weight = weight

    @property
    @abstractmethod
    def output_names(self) -> list[str]:
        """Names of the O outputs, known once `fit` or `load_state` has run."""

    @property
    def num_outputs(self) -> int:
        """Return O."""
        return len(self.output_names)

    @abstractmethod
    def read(self, root: Path) -> pl.DataFrame | None:
        """Read a cohort's labels: subject_id, prediction_time, target (list of T float32, NaN where unknown).

        Returns None where the cohort has no such label; raises DataError for a file that breaks the label schema.
        """

    @abstractmethod
    def fit(self, targets: NDArray[np.float32]) -> None:
        """Learn what depends on the training targets [N, T], such as class weights."""

    def state(self) -> dict[str, Any]:
        """Return the JSON-able state that the package keeps; `load_state` restores it."""
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore what `state` returned; ValueError for anything else: a stranger may have written it."""
        if state:
            raise ValueError("is not empty, though the task keeps none")

    @abstractmethod
    def loss(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return (sum of losses, number of labelled targets), both scalars; unknown targets add to neither."""

    @abstractmethod
    def probabilities(self, outputs: Tensor) -> Tensor:
        """Turn logits [N, O] into probabilities [N, O]."""

    def metrics(self, targets: NDArray[np.float32], probabilities: NDArray[np.float32]) -> dict[str, float]:
        """Score probabilities [N, O] against targets [N, T].

        Unknown targets are left out; a metric that is undefined (one class only) is NaN.
        """
        scores = self.scores(targets, probabilities, np.ones((1, len(targets))))
        return {name: float(values[0]) for name, values in scores.items()}

    def scores(
        self, targets: NDArray[np.float32], probabilities: NDArray[np.float32], weights: NDArray[np.float64]
    ) -> dict[str, NDArray[np.float64]]:
        """Compute the metrics under R weightings of the samples at once: `weights` [R, N] gives [R] values each."""
        return {name: metric(targets, probabilities, weights) for name, metric in self.scoring.items()}

    @abstractmethod
    def predicted_columns(self, probabilities: NDArray[np.float32]) -> dict[str, list[Any]]:
        """Return the prediction columns of `meds_evaluation.PredictionSchema` for this task."""


def the_list(state: Mapping[str, Any], key: str, kind: tuple[type, ...]) -> list[Any]:
    """Return the list of values of a kind that a state holds, and nothing else; ValueError where it holds another."""
    values = state.get(key)
    if state.keys() != {key} or not isinstance(values, list) or not all(type(value) in kind for value in values):
        raise ValueError(f"does not hold {key} alone, as a list of the right kind")
    return list(values)
