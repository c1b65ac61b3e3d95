"""Open what all trainings and evaluations of a run share: cohorts, samples, tasks, modalities."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from clintune.cohort.checks import folder_problems
from clintune.cohort.codes import count_codes
from clintune.cohort.index import SampleIndex
from clintune.cohort.labels import label_files, unknown_label
from clintune.cohort.samples import Samples
from clintune.cohort.source import open_root
from clintune.cohort.subject_table import read_subject_table
from clintune.config.schema import Config
from clintune.config.suggest import nearest
from clintune.core.errors import ConfigError, DataError
from clintune.core.problems import Problem, raise_first
from clintune.modalities.base import Modality, readers_of
from clintune.modalities.readers import has_code
from clintune.model.build import make_modalities
from clintune.package.contents import make_tasks
from clintune.storage.cache_folder import open_cache
from clintune.storage.remote import is_remote
from clintune.tasks.base import Task


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """A config with its data open."""

    config: Config
    cache: Path
    samples: Samples
    tasks: dict[str, Task]
    modalities: dict[str, Modality]
    groups: dict[str, pl.DataFrame]
    """Table of groups (`Cohort.groups`) of each cohort that has one."""


def open_experiment(config: Config) -> Experiment:
    """Write or fetch missing cohorts, open their indexes, and read the labels.

    Raises DataError if a task has no label in any cohort, ConfigError for a code or metric that
    does not exist and for a task whose targets fit neither its outputs nor its class numbers.
    """
    # Check what needs no index.
    if problems := list(folder_problems(config.cohorts, config.cv, config.tasks)):
        raise DataError("; and ".join(map(str, problems)))
    cache = open_cache(config.data.cache, shared=config.data.shared)
    config = _with_absolute_sources(config)
    modalities, tasks = make_modalities(config.modalities), make_tasks(config.tasks)
    _check_metric(config.trainer.metric, tasks)

    # Open each cohort.
    roots = {}
    for name, cohort in config.cohorts.items():
        tables = (cohort.folds, cohort.groups, config.cv)
        beside = [path for path in tables if isinstance(path, str)]
        roots[name] = open_root(name, cohort, cache, beside)
    raise_first(_unlabelled(tasks, list(roots.values())))

    indexes, groups, cohorts = [], {}, {}
    for name, cohort in config.cohorts.items():
        root = roots[name]
        if cohort.groups is not None:
            groups[name] = read_subject_table(root / cohort.groups)
        cohorts[name] = cohort if is_remote(cohort.root) else replace(cohort, root=str(root))
        indexes.append(SampleIndex.open(name, cohorts[name], readers_of(modalities), tasks, cache))

    # Check what the indexes tell.
    samples = Samples(indexes)
    raise_first(_unknown_labels(tasks, samples))
    raise_first(_unknown_codes(modalities, samples), ConfigError)
    return Experiment(
        config=replace(config, cohorts=cohorts),
        cache=cache,
        samples=samples,
        tasks=tasks,
        modalities=modalities,
        groups=groups,
    )


def _with_absolute_sources(config: Config) -> Config:
    """Return a config in which weights have absolute paths, found from any working directory."""
    backbone = replace(config.backbone, **_absolute({"source": config.backbone.source}))
    modalities = {name: _absolute(part) for name, part in config.modalities.items()}
    return replace(config, backbone=backbone, modalities=modalities)


def _absolute(part: dict[str, Any]) -> dict[str, Any]:
    """Return a part with the absolute path of the folder of its weights, if it has one."""
    if "source" not in part:
        return part
    folder = Path(part["source"]).expanduser()
    return {**part, "source": str(folder.resolve())} if folder.is_dir() else part


def _choosing(tasks: Mapping[str, Task]) -> Iterator[str]:
    """Yield the names of the metrics that can choose a checkpoint: more, or less, is better."""
    for task in tasks.values():
        yield from (metric.name for metric in task.metrics if metric.higher_is_better is not None)


def _check_metric(metric: str | None, tasks: Mapping[str, Task]) -> None:
    known = {"loss", *_choosing(tasks)}
    if metric in {one.name for task in tasks.values() for one in task.metrics} - known:
        raise ConfigError(
            f"trainer.metric '{metric}' can choose no checkpoint (higher_is_better is None); "
            f"take one of {', '.join(sorted(known))}"
        )
    if metric is not None and metric not in known:
        raise ConfigError(
            f"trainer.metric '{metric}' is a metric of no task{nearest(metric, known)}"
        )


def _unlabelled(tasks: Mapping[str, Task], roots: Sequence[Path]) -> Iterator[Problem]:
    """Yield each task without labels in any cohort; a task of the user may keep them elsewhere."""
    for name, task in tasks.items():
        is_there = any(label_files(root, task.label) for root in roots)
        if not is_there and all(task.read(root) is None for root in roots):
            yield unknown_label(f"tasks.{name}.label", task.label, roots)


def _unknown_labels(tasks: Mapping[str, Task], samples: Samples) -> Iterator[Problem]:
    """Yield each task whose label no sample knows."""
    for name, task in tasks.items():
        if np.isnan(samples.targets(name)).all():
            what = f"every label '{task.label}' is unknown (null) in every cohort"
            yield Problem(f"tasks.{name}", what, "add known ones")


def _unknown_codes(modalities: Mapping[str, Modality], samples: Samples) -> Iterator[Problem]:
    """Yield each listed code that no row of any cohort has: a mistyped one would not be seen."""
    known = samples.codes().to_frame()
    unknown = [
        (name, code)
        for name, modality in modalities.items()
        for code in modality.reader.codes or []
        if known.filter(has_code([code])).is_empty()
    ]

    # Only common codes are named: a code of few subjects would tell of them.
    common = count_codes(samples).common if unknown else set()
    for name, code in unknown:
        remedy = f"correct it or take it out{nearest(code, common)}"
        yield Problem(f"modalities.{name}.codes", f"no row has '{code}'", remedy)
