"""Two runs on the same held-out samples, compared subject by subject."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from meds.schema import held_out_split

from clintune.core.errors import ConfigError
from clintune.evaluation.intervals import paired_differences, to_json
from clintune.evaluation.predictions import RAW, read_predictions
from clintune.evaluation.scored import Scored, of_tasks
from clintune.tasks.base import Task


def compare_runs(
    run: Path, other: Path, tasks: Mapping[str, Task], replicates: int
) -> dict[str, Any]:
    """Return the paired differences of a run to another one, by task and metric, as plain values.

    Raises ConfigError when the other run has no predictions, DataError when they are of other samples.
    """
    if not (other / RAW / held_out_split).is_dir():
        raise ConfigError(
            f"--against {other}: no {RAW} there; run `clintune evaluate {other}` first"
        )
    mine, theirs = (_read(folder / RAW / held_out_split, tasks) for folder in (run, other))
    return to_json(paired_differences(theirs, mine, replicates=replicates))


def _read(folder: Path, tasks: Mapping[str, Task]) -> dict[str, Scored]:
    return of_tasks(
        {name: read_predictions(folder, name, task) for name, task in tasks.items()}, tasks
    )
