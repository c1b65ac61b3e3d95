"""What every fit and evaluation of a run shares: cohorts, samples, tasks and modalities of its config."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from omegaconf import DictConfig
from rich.console import Console

from clintune.cohort.index import SampleIndex
from clintune.cohort.samples import Samples
from clintune.cohort.source import ensure_cohort
from clintune.core.errors import DataError
from clintune.modalities.base import Modality
from clintune.model.build import make_modalities
from clintune.package import make_tasks
from clintune.tasks.base import Task

console = Console(stderr=True, highlight=False)
"""Messages to the person at the terminal; results go to standard output."""


@dataclass(frozen=True, kw_only=True)
class Workspace:
    """A config with its data open."""

    config: DictConfig
    cache: Path
    samples: Samples
    tasks: dict[str, Task]
    modalities: dict[str, Modality]


def open_workspace(config: DictConfig) -> Workspace:
    """Write missing cohorts, open their indexes, read the labels.

    Raises DataError when a task has no label in any cohort.
    """
    cache = Path(config.data.cache).expanduser()
    # The run folder must find weights and data from any working directory.
    for part in (config.backbone, *config.modalities.values()):
        if "source" in part and Path(part.source).expanduser().is_dir():
            part.source = str(Path(part.source).expanduser().resolve())
    modalities, tasks = make_modalities(config), make_tasks(config)
    indexes = []
    for name, cohort in config.cohorts.items():
        cohort.root = str(Path(cohort.root).expanduser().resolve())
        ensure_cohort(str(name), cohort)
        indexes.append(SampleIndex.open(str(name), cohort, modalities, tasks, cache))
    samples = Samples(indexes)
    for name, task in tasks.items():
        if not (~np.isnan(samples.targets(name))).any():
            raise DataError(
                f"tasks.{name}: no cohort has a known label in labels/{task.label}; check the task's `label`"
            )
    return Workspace(config=config, cache=cache, samples=samples, tasks=tasks, modalities=modalities)
