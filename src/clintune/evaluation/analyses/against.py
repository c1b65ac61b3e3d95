"""Two runs on the same held-out samples, compared subject by subject."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from meds.schema import held_out_split

from clintune.core.errors import ConfigError
from clintune.evaluation.context import Context
from clintune.evaluation.intervals import paired_differences, to_json
from clintune.evaluation.page import Page
from clintune.evaluation.predictions import RAW, read_predictions
from clintune.evaluation.scored import Scored, of_tasks
from clintune.report.section import Section, Text
from clintune.report.table import Number, Row, Score, Table
from clintune.tasks.base import Task


def run(context: Context) -> dict[str, Any] | None:
    """Return the paired differences to the other run, by task and metric.

    Both are read from their folders, where the run's own raw predictions stand by now. Raises
    ConfigError when the other run has none, DataError when they are of other samples.
    """
    if context.against is None:
        return None
    other = context.against
    if not (other / RAW / held_out_split).is_dir():
        raise ConfigError(
            f"--against {other}: no {RAW} there; run `clintune evaluate {other}` first"
        )
    mine, theirs = (
        _read(folder / RAW / held_out_split, context.tasks) for folder in (context.run, other)
    )
    return to_json(paired_differences(theirs, mine, replicates=context.replicates))


def section(result: Mapping[str, Any], page: Page) -> Section:
    """Return the differences as a table."""
    rows = [
        Row([task, page.titles[name], Score(difference, style="signed"), Number(difference["p"])])
        for task, metrics in result.items()
        for name, difference in metrics.items()
    ]
    explained = (
        "This run less the other one, on the same draws of the same patients; a range that "
        "excludes 0 speaks for a real difference."
    )
    table = Table(["Task", "Metric", "Difference", "p-value"], rows)
    return Section("Against the other run", [Text(explained), table])


def _read(folder: Path, tasks: Mapping[str, Task]) -> dict[str, Scored]:
    return of_tasks(
        {name: read_predictions(folder, name, task) for name, task in tasks.items()}, tasks
    )
