"""What people ask of their runs: a table of how they stand, and their logs. No torch here."""

import shutil
import sys
import time
from collections import defaultdict
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

import yaml
from rich.table import Table

from clintune.core.console import console, print_table
from clintune.core.errors import ConfigError
from clintune.core.text import visible
from clintune.experiment.resume import leaves
from clintune.launch.status import Status, read_status

_UNKNOWN = ["unknown", "", "", "", "", ""]
_WIDEST = 10_000
"""Columns of a table that goes to a pipe or file: no row is broken there."""
_SHOWN = 3
"""Most settings of a run that the table shows."""
_PLACES = ("name", "runs", "data", "cluster")
"""Keys of a recipe that say where, not what: they tell no runs apart."""


def list_runs(folder: Path) -> None:
    """Print a table of the runs below a folder, oldest first, with what tells those of one recipe apart.

    Raises ConfigError when there is no such folder.
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
    differences = {
        run: settings
        for siblings in _siblings(runs)
        for run, settings in _differences(siblings).items()
    }

    table = Table("run", "state", "step", "best", "duration", "host", "job", "differs in", box=None)
    for run, status in statuses.items():
        table.add_row(str(run), *(_cells(status) if status else _UNKNOWN), differences[run])
    # Below the table: a long line within would make all of its columns as wide.
    errors = [
        f"{run}: {status.error}" for run, status in statuses.items() if status and status.error
    ]
    print_table(table, *errors, width=_WIDEST)


def print_logs(run: Path) -> None:
    """Print the error of a run that failed, then its logs, oldest first.

    Raises ConfigError for what is no run.
    """
    status = read_status(run)
    if status is None and not any((run / name).is_file() for name in ("recipe.yaml", "job.yaml")):
        raise ConfigError(
            f"run {run}: no run there; give the folder that `clintune train` or `predict` printed"
        )
    if status and status.error:
        print(f"{status.state}: {visible(status.error)}")

    patterns = {run / "logs" / "*.log", *([Path(status.logs)] if status and status.logs else [])}
    written = {
        path.resolve() for pattern in patterns for path in pattern.parent.rglob(pattern.name)
    }
    files = [path for path in written if path.stat().st_size]
    if not files:
        console.print(
            f"{run}: {status.state if status else 'has not begun'}; nothing is written in logs/ yet"
        )
    for path in sorted(files, key=lambda path: (path.stat().st_mtime, path)):
        print(f"==> {visible(path)}")
        with path.open(encoding="utf-8", errors="replace") as file:
            shutil.copyfileobj(file, sys.stdout)


def _cells(status: Status) -> list[str]:
    end = time.time() if status.state == "running" else status.updated
    seconds = max(0, round(end - status.started))  # a clock may have been set back
    duration = "" if status.state == "queued" else str(timedelta(seconds=seconds))
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
    """Return the runs of each recipe, which stand in one folder."""
    together = defaultdict(list)
    for run in runs:
        together[run.parent].append(run)
    return list(together.values())


def _differences(runs: list[Path]) -> dict[Path, str]:
    """Return the settings in which each run differs from some other."""
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
    """Return the recipe of a run; nothing where it cannot be read."""
    try:
        recipe = yaml.safe_load((run / "recipe.yaml").read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return (
        {key: value for key, value in recipe.items() if key not in _PLACES}
        if isinstance(recipe, dict)
        else {}
    )
