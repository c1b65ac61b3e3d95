"""The held-out samples of an experiment, fold by fold, and what is predicted of them, as one."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from meds.schema import held_out_split
from numpy.typing import NDArray

from clintune.contracts import Predictions
from clintune.core.errors import DataError
from clintune.evaluation.context import ByTask
from clintune.evaluation.predict import concatenate
from clintune.experiment.fold_data import FoldData, prepare_fold
from clintune.experiment.folds import folds
from clintune.experiment.open import Experiment


def held_out_folds(experiment: Experiment) -> Iterator[tuple[int, FoldData, NDArray[np.int64]]]:
    """Yield the number of each fold, its data, and the rows held out.

    Raises DataError when no row is held out.
    """
    for number, fold in enumerate(folds(experiment.config, Path(), experiment.samples)):
        ready = prepare_fold(experiment, fold, one_answer_will_do=True)
        rows = ready.rows[held_out_split]
        if not len(rows):
            raise DataError(
                "no labelled sample is held out; check the splits of the recipe's cohorts"
            )
        yield number, ready, rows


def concatenate_by_share(
    parts: Mapping[float, Mapping[str, Sequence[Predictions]]],
) -> dict[float, ByTask]:
    """Return the predictions of all folds as one, by share of missing and task."""
    found: dict[float, ByTask] = {}
    for share, by_task in parts.items():
        found[share] = {task: concatenate(several) for task, several in by_task.items()}
    return found
