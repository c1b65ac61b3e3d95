"""Print the table of runs: their states, and what tells the runs of one recipe apart.

No torch here.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from math import inf
from pathlib import Path
from typing import Any

import yaml
from rich.table import Table

from clintune.core.console import WIDEST, console, print_table
from clintune.core.errors import ConfigError
from clintune.experiment.resume import leaves
from clintune.launch.status import Status, read_status

_UNKNOWN = ["unknown", "", "", "", "", ""]
_SHOWN = 3
"""Most settings that the table shows of a run."""
_PLACES = ("name", "runs", "data", "cluster")
"""Keys of a recipe that say where, not what; they distinguish no runs."""

ORDERS: dict[str, Callable[[Status], float]] = {
    "best": lambda status: -inf if status.best is None else status.best,
    "duration": lambda status: _seconds(status),
}
"""Orders of runs beside the time of their start; the greatest comes first."""


def list_runs(folder: Path, order: str | None = None) -> None:
    """Print a table of the runs below a folder, oldest first, or in an order of ORDERS.

    It says what tells the runs of one recipe apart. Raises ConfigError if there is no such folder.
    """
    if not folder.is_dir():
        raise ConfigError(
            f"{folder}: no such folder; give the folder that runs are written to (key `runs`)"
        )
    runs = sorted((path.parent for path in folder.rglob("recipe.yaml")), key=lambda run: run.name)
    if not runs:
        console.print(
            f"{folder}: no run is there; give the folder that runs are written to (key `runs`)"
        )
        return

    statuses = {run: read_status(run) for run in runs}
    if order is not None:
        statuses = _sorted(statuses, order)
    differences: dict[Path, str] = {}
    for siblings in _siblings(runs):
        differences |= _differences(siblings)

    # Errors stand below the table: a long line within would widen a column for all runs.
    errors = [
        f"{run}: {status.error}" for run, status in statuses.items() if status and status.error
    ]
    table = _table(statuses, differences, "differs in")
    print_table(table, *errors, width=WIDEST)


def print_sweep(settings: Mapping[Path, str]) -> None:
    """Print a table of the runs of a sweep, each with its own settings, to standard error."""
    statuses = {run: read_status(run) for run in settings}
    console.print_table(_table(statuses, settings, "settings"))


def _table(
    statuses: Mapping[Path, Status | None], settings: Mapping[Path, str], title: str
) -> Table:
    table = Table("run", "state", "step", "best", "duration", "host", "job", title, box=None)
    for run, status in statuses.items():
        table.add_row(str(run), *(_cells(status) if status else _UNKNOWN), settings[run])
    return table


def _sorted(statuses: Mapping[Path, Status | None], order: str) -> dict[Path, Status | None]:
    """Return the runs with the greatest first; runs without a status are last."""
    value = ORDERS[order]
    known = {run: value(status) for run, status in statuses.items() if status is not None}
    return {run: statuses[run] for run in sorted(statuses, key=lambda r: -known.get(r, -inf))}


def _seconds(status: Status) -> int:
    end = time.time() if status.state == "running" else status.updated
    return max(0, round(end - status.started))  # a clock may have been set back


def _cells(status: Status) -> list[str]:
    duration = "" if status.state == "queued" else str(timedelta(seconds=_seconds(status)))
    step = f"{status.part} {status.step}/{status.num_steps}".strip() if status.num_steps else ""
    best = "" if status.best is None else f"{status.best:.4f}"
    return [
        status.state,
        step,
        best,
        duration,
        "" if status.state == "queued" else status.host,
        status.job or "",
    ]


def _siblings(runs: Iterable[Path]) -> list[list[Path]]:
    """Return the runs of each recipe; they stand in one folder."""
    together = defaultdict(list)
    for run in runs:
        together[run.parent].append(run)
    return list(together.values())


def _differences(runs: list[Path]) -> dict[Path, str]:
    """Return the settings in which each run differs from some other."""
    # Collect the values of each key; those with several differ.
    settings = {run: dict(leaves(_read(run))) for run in runs}
    found: dict[str, set[str]] = defaultdict(set)
    for key in {key for values in settings.values() for key in values}:
        found[key] |= {repr(values.get(key)) for values in settings.values()}
    differing = sorted(key for key, values in found.items() if len(values) > 1)

    more = [f"and {len(differing) - _SHOWN} more"] if len(differing) > _SHOWN else []
    said = {}
    for run, values in settings.items():
        said[run] = " ".join([*(f"{key}={values.get(key)}" for key in differing[:_SHOWN]), *more])
    return said


def _read(run: Path) -> Any:
    """Return the settings of a run's recipe; none if it cannot be read."""
    try:
        recipe = yaml.safe_load((run / "recipe.yaml").read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    if not isinstance(recipe, dict):
        return {}
    return {key: value for key, value in recipe.items() if key not in _PLACES}
