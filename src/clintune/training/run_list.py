"""What people ask of their runs: a table of how they stand, and their logs. No torch here."""

import shutil
import sys
import time
from datetime import timedelta
from pathlib import Path

from rich.console import Console
from rich.table import Table

from clintune.core.errors import ConfigError
from clintune.training.status import Status, read_status


def list_runs(folder: Path) -> None:
    """Print a table of the runs below a folder, oldest first.

    Raises ConfigError when there is no such folder.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder}: no such folder; give the folder that runs are written to (key `runs`)")
    runs = sorted((path.parent for path in folder.rglob("recipe.yaml")), key=lambda run: run.name)
    table = Table("run", "state", "step", "best", "duration", "host", "job", box=None)
    for run in runs:
        status = read_status(run)
        table.add_row(str(run), *(_cells(status) if status else ["unknown", "", "", "", "", ""]))
        if status and status.error:
            table.add_row("", f"  {status.error}")
    Console(highlight=False, width=None if sys.stdout.isatty() else 200).print(table)


def print_logs(run: Path) -> None:
    """Print the error of a run that failed, then its logs, oldest first.

    Raises ConfigError for a run without logs.
    """
    status = read_status(run)
    if status and status.error:
        print(f"{status.state}: {status.error}")
    pattern = Path(status.logs if status and status.logs else run / "logs" / "*.log")
    files = [path for path in pattern.parent.rglob(pattern.name) if path.stat().st_size]
    if not files:
        raise ConfigError(f"run {run}: no logs yet (looked for {pattern})")
    for path in sorted(files, key=lambda path: (path.stat().st_mtime, path)):
        print(f"==> {path}")
        with path.open(encoding="utf-8", errors="replace") as file:
            shutil.copyfileobj(file, sys.stdout)


def _cells(status: Status) -> list[str]:
    end = time.time() if status.state == "running" else status.updated
    duration = "" if status.state == "queued" else str(timedelta(seconds=round(end - status.started)))
    step = f"{status.part} {status.step}/{status.num_steps}".strip() if status.num_steps else ""
    best = "" if status.best is None else f"{status.best:.4f}"
    return [status.state, step, best, duration, "" if status.state == "queued" else status.host, status.job or ""]
