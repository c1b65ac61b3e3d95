"""Print what a run or a scoring job wrote while it ran.

No torch here.
"""

import shutil
import sys
from pathlib import Path

from clintune.core.console import console
from clintune.core.errors import ConfigError
from clintune.core.text import visible
from clintune.launch.status import read_status


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

    # Its own logs, and those that its launcher keeps elsewhere.
    patterns = {run / "logs" / "*.log", *([Path(status.logs)] if status and status.logs else [])}
    written = {
        path.resolve() for pattern in patterns for path in pattern.parent.rglob(pattern.name)
    }
    files = [path for path in written if path.stat().st_size]
    if not files:
        state = status.state if status else "has not begun"
        console.print(f"{run}: {state}; nothing is written in logs/ yet")

    for path in sorted(files, key=lambda path: (path.stat().st_mtime, path)):
        print(f"==> {visible(path)}")
        with path.open(encoding="utf-8", errors="replace") as file:
            shutil.copyfileobj(file, sys.stdout)
