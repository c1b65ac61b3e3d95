"""What analyses read: a run's predictions and all that they are of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl
from meds.schema import held_out_split as HELD_OUT
from meds.schema import train_split as TRAIN
from meds.schema import tuning_split as TUNING
from numpy.typing import NDArray

from clintune.cohort.samples import Samples
from clintune.config.schema import Config
from clintune.contracts import Predictions
from clintune.evaluation.scored import Scored, of_tasks
from clintune.evaluation.subjects import take
from clintune.experiment.folds import Fold, read_splits
from clintune.tasks.base import Task
from clintune.tasks.calibration import Calibration, calibrate

WHOLE = "whole"
"""The variant of predictions that keeps all modalities."""
MEMBER = "member"
"""How the variants begin that are those of one member of an ensemble each."""
ByTask = Mapping[str, Predictions]

__all__ = ["HELD_OUT", "MEMBER", "TRAIN", "TUNING", "WHOLE", "ByTask", "Context", "Request"]


@dataclass(frozen=True, kw_only=True)
class Request:
    """Predictions that an analysis asks for: of some splits, with the modalities `kept`.

    `is_plain` asks as a stranger would: each sample by itself, in the plain view of its items, and
    of no more than 10,000 samples of a split, drawn at random.
    """

    variant: str
    kept: frozenset[str]
    splits: tuple[str, ...] = (HELD_OUT,)
    is_plain: bool = False


@dataclass(frozen=True, kw_only=True)
class Context:
    """A run, or one fold of it by itself, as analyses see it.

    `raw[split][variant][task]` are predictions before calibration, those of folds one after the
    other; a split or variant that nobody asked for is absent. `split` [N] names that of each
    sample, and is None for the folds of a run together. `replicates` are the resamples of
    intervals, `against` is another run to compare with.
    """

    run: Path
    config: Config
    samples: Samples
    tasks: Mapping[str, Task]
    modalities: Sequence[str]
    groups: Mapping[str, pl.DataFrame]
    raw: Mapping[str, Mapping[str, ByTask]]
    calibrations: Sequence[Mapping[str, Calibration]]
    """By fold, then task."""
    split: NDArray[np.str_] | None
    replicates: int
    against: Path | None = None

    @property
    def splits(self) -> list[str]:
        """Return the splits that all modalities together were predicted for, tuning first."""
        return [name for name in (TUNING, HELD_OUT) if WHOLE in self.raw.get(name, {})]

    @property
    def held_out(self) -> ByTask:
        """Return the raw predictions of the held-out samples."""
        return self.raw[HELD_OUT][WHOLE]

    @cached_property
    def calibrated(self) -> dict[str, dict[str, Predictions]]:
        """Return the predictions of each split and task after calibration."""
        found: dict[str, dict[str, Predictions]] = {split: {} for split in self.splits}
        for split, by_task in found.items():
            for task, part in self.raw[split][WHOLE].items():
                predicted, _ = calibrate(part, self.fitted(task))
                by_task[task] = replace(part, predicted=predicted)
        return found

    def fitted(self, task: str) -> list[Calibration]:
        """Return the calibration of a task by fold."""
        return [by_task[task] for by_task in self.calibrations]

    def scored(self, predictions: ByTask) -> dict[str, Scored]:
        """Return predictions with what scores them."""
        return of_tasks(predictions, self.tasks)

    def of_fold(self, number: int, fold: Fold) -> "Context":
        """Return one fold by itself."""
        raw: dict[str, dict[str, ByTask]] = {split: {} for split in self.raw}
        for split, by_variant in self.raw.items():
            for variant, by_task in by_variant.items():
                parts = {task: _of_fold(part, number) for task, part in by_task.items()}
                raw[split][variant] = parts

        return replace(
            self,
            raw=raw,
            calibrations=[self.calibrations[number]],
            split=read_splits(fold.folder / "splits.parquet", self.samples),
            against=None,
        )


def _of_fold(predictions: Predictions, number: int) -> Predictions:
    part = take(predictions, predictions.fold == number)
    return replace(part, fold=np.zeros_like(part.fold))
