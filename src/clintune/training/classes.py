"""Labels that tell nothing apart are named before anything is trained on them."""

import numpy as np
from numpy.typing import NDArray

from clintune.core.console import console
from clintune.core.errors import DataError
from clintune.tasks.base import Task
from clintune.tasks.multiclass import Multiclass

_SHOWN = 5


def check_classes(name: str, task: Task, targets: NDArray[np.float32]) -> None:
    """Name the classes that no training sample has, and the phenotypes that all or none have.

    `targets` [N, T] are those of the training samples. Raises DataError where they are all the same.
    """
    known = [column[~np.isnan(column)] for column in targets.T]
    if all(len(np.unique(column)) < 2 for column in known):
        raise DataError(
            f"tasks.{name}: the known labels of all training samples are the same, which teaches nothing; add labels "
            "of another class, draw other splits (splits.stratify, splits.seed), or drop the task"
        )

    if isinstance(task, Multiclass):
        present = set(known[0].astype(int).tolist())
        missing = [label for number, label in enumerate(task.output_names) if number not in present]
    else:
        missing = [label for label, column in zip(task.output_names, known, strict=False) if len(np.unique(column)) < 2]
    if missing:
        more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
        listed = ", ".join(missing[:_SHOWN]) + more
        lack = "no training sample is" if isinstance(task, Multiclass) else "all known training labels are the same of"
        console.print(f"warning: tasks.{name}: {lack} {listed}", style="yellow", markup=False)
