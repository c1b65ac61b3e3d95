"""The file beside a package with the calibrations of its tasks."""

from collections.abc import Mapping
from pathlib import Path

from clintune.core.errors import PackageError
from clintune.core.files import write_json
from clintune.package.plain import read_json
from clintune.tasks.calibration import Calibration

CALIBRATION = "calibration.json"


def write_calibrations(path: Path, by_task: Mapping[str, Calibration]) -> None:
    """Write the calibration of each task as JSON, atomically."""
    write_json(path, {task: calibration.to_json() for task, calibration in by_task.items()})


def read_calibrations(path: Path) -> dict[str, Calibration]:
    """Read what `write_calibrations` wrote; PackageError for anything else."""
    by_task = read_json(path)
    try:
        return {task: Calibration.from_json(values) for task, values in by_task.items()}
    except (ValueError, AttributeError) as error:
        raise PackageError(
            f"{path}: no calibrations; evaluate the run, or fetch the package, again"
        ) from error
