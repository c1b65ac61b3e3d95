"""What each modality brings: the model with all of them, with each alone, and with each left out.

The model stays as trained and only its input changes, so this shows what the trained model relies on; a model trained
without a modality may make up for it.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from clintune.contracts import Predictions
from clintune.evaluation.intervals import (
    Difference,
    Interval,
    bootstrap,
    to_differences,
    to_intervals,
    to_json,
)
from clintune.evaluation.scored import of_tasks
from clintune.tasks.base import Task

WHOLE = "whole"
Predict = Callable[[frozenset[str]], Mapping[str, Predictions]]
"""The modalities that are kept to the predictions of each task."""


class Ablation(NamedTuple):
    """A variant's scores and their difference to the whole model, each task then metric."""

    scores: dict[str, dict[str, Interval]]
    differences: dict[str, dict[str, Difference]]

    def to_json(self) -> dict[str, Any]:
        """Return plain values: `scores` and `differences`, each by task and metric."""
        return {"scores": to_json(self.scores), "differences": to_json(self.differences)}


def variants(modalities: Iterable[str]) -> dict[str, frozenset[str]]:
    """Name the variants and the modalities that each keeps: `whole`, `only NAME`, `without NAME`.

    With two modalities, leaving one out is the other alone; with one there is nothing to compare.
    """
    everything = frozenset(modalities)
    named = {WHOLE: everything}
    if len(everything) > 1:
        named |= {f"only {name}": frozenset({name}) for name in sorted(everything)}
    if len(everything) > 2:
        named |= {f"without {name}": everything - {name} for name in sorted(everything)}
    return named


def ablate(
    predict: Predict,
    modalities: Iterable[str],
    tasks: Mapping[str, Task],
    *,
    replicates: int = 1000,
    seed: int = 0,
) -> dict[str, Ablation]:
    """Predict with every variant and compare it, on the same draws of subjects, with the whole model."""
    scored = {name: of_tasks(predict(kept), tasks) for name, kept in variants(modalities).items()}
    tables = {
        name: bootstrap(parts, replicates=replicates, seed=seed) for name, parts in scored.items()
    }
    return {
        name: Ablation(
            to_intervals(tables[name], parts), to_differences(tables[WHOLE], tables[name])
        )
        for name, parts in scored.items()
    }
