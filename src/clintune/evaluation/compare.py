"""Two runs on the same held-out samples, compared subject by subject."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from meds.schema import held_out_split

from clintune.contracts import Predictions
from clintune.core.errors import ConfigError
from clintune.evaluation.intervals import Scored, bootstrap, paired_differences, to_json
from clintune.evaluation.predictions import read_predictions
from clintune.tasks.base import Task


def compare_runs(run: Path, other: Path, tasks: Mapping[str, Task], replicates: int) -> dict[str, Any]:
    """Return the paired differences of a run to another one, by task and metric, as plain values.

    Raises ConfigError when the other run has no predictions, DataError when they are of other samples.
    """
    if not (other / "predictions" / held_out_split).is_dir():
        raise ConfigError(f"--against {other}: no predictions there; run `clintune evaluate {other}` first")
    mine, theirs = (
        scored_by(
            {
                name: read_predictions(folder / "predictions" / held_out_split, name, task)
                for name, task in tasks.items()
            },
            tasks,
        )
        for folder in (run, other)
    )
    return to_json(paired_differences(theirs, mine, replicates=replicates))


def scored_by(predictions: Mapping[str, Predictions], tasks: Mapping[str, Task]) -> dict[str, Scored]:
    """Return predictions with what scores them."""
    return {name: Scored(part, tasks[name].scores) for name, part in predictions.items()}


def plain_values(tasks: Mapping[str, Scored]) -> dict[str, dict[str, float | None]]:
    """Score without intervals: task, metric, value (None where undefined)."""
    table = bootstrap(tasks, replicates=0)
    values = {task: {name: float(score[0]) for name, score in scores.items()} for task, scores in table.items()}
    return {task: {n: None if v != v else v for n, v in by_metric.items()} for task, by_metric in values.items()}
