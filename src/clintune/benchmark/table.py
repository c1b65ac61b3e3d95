"""The table of a benchmark: one row a method, experiment, level and share missing.

It holds scores task by task, and their mean. A score is the mean over the seeds. Its interval is
over subjects and seeds: replicate r draws the subjects again, the same draw for every seed and
method, and then draws as many seeds with replacement and averages their scores. Few seeds show
little of how much seeds matter. Two methods are compared replicate by replicate, over the seeds
that both have.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from clintune.benchmark.method_names import is_own
from clintune.benchmark.method_result import predictions_folder
from clintune.benchmark.trials import Trial, read_about
from clintune.contracts import Predictions
from clintune.core.disclosure import SMALLEST_SHOWN
from clintune.core.files import atomic_path
from clintune.evaluation.intervals import (
    MEAN,
    Difference,
    Interval,
    Table,
    bootstrap,
    mean_of_tasks,
    to_differences,
    to_intervals,
)
from clintune.evaluation.predictions import read_predictions
from clintune.evaluation.scored import Scored, of_tasks
from clintune.metrics import Metric, defined_mean
from clintune.package.contents import make_tasks
from clintune.tasks.base import Task

REPLICATES = 1000
COSTS = ("fit_seconds", "predict_seconds", "peak_mb")
_FOLDS = 1_000_000
"""More folds than any seed has."""


@dataclass(frozen=True, eq=False)
class MethodScores:
    """A method on an experiment at a level and share missing, with its finished trials.

    `folders` are those of the trials, by seed.
    """

    experiment: str
    level: str
    missing: float
    method: str
    folders: Mapping[int, Path]

    @property
    def seeds(self) -> tuple[int, ...]:
        """Return the seeds of its finished trials."""
        return tuple(self.folders)

    @property
    def setting(self) -> tuple[str, str, float]:
        """Return what entries that can be compared share."""
        return self.experiment, self.level, self.missing

    @cached_property
    def about(self) -> list[dict[str, Any]]:
        """Return what each of its trials says of itself."""
        return [read_about(folder) for folder in self.folders.values()]


@dataclass(frozen=True, kw_only=True)
class Row:
    """An entry with its scores by task and metric.

    `main` is the mean over tasks, or the first task. `differences` are to
    `baseline`, the best of those here; None for that one itself and where there is none.
    """

    entry: MethodScores
    scores: Mapping[str, Mapping[str, Interval]]
    main: str
    primary: Mapping[str, Metric]
    """The metric that shows each task and chooses the best baseline.

    The mean of the tasks is there as well, if they share one metric.
    """
    baseline: str | None
    differences: Mapping[str, Mapping[str, Difference]] | None

    @property
    def score(self) -> Interval:
        """Return the value of the main task's primary metric."""
        return self.scores[self.main][self.primary[self.main].name]

    @property
    def difference(self) -> Difference | None:
        """Return the difference of that value to the baseline."""
        if not self.differences:
            return None
        return self.differences[self.main][self.primary[self.main].name]


def find_entries(finished: Mapping[Path, Trial]) -> list[MethodScores]:
    """Return the entries of finished trials, in the order of the suite."""
    found: dict[tuple[str, str, float, str], dict[int, Path]] = {}
    for folder, trial in finished.items():
        for share in trial.missing:
            key = (trial.experiment, trial.level, share, trial.method)
            found.setdefault(key, {})[trial.seed] = folder
    return [MethodScores(*key, folders) for key, folders in found.items()]


def make_rows(entries: Sequence[MethodScores], replicates: int = REPLICATES) -> list[Row]:
    """Score every entry and compare it with the best baseline of its setting."""
    table = cache(lambda entry, seeds: score_seeds(_read(entry, seeds), replicates))
    rows: list[Row] = []
    for setting in dict.fromkeys(entry.setting for entry in entries):
        here = [entry for entry in entries if entry.setting == setting]
        primary = primary_metrics(_tasks(here[0]))
        main = MEAN if MEAN in primary else next(iter(primary))

        # Choose the best baseline.
        others = [entry for entry in here if not is_own(entry.method)]
        values = [_value(table(entry, entry.seeds)[main], primary[main]) for entry in others]
        best = others[int(np.argmax(values))] if others else None

        # Compare every entry with it, over the seeds that both have.
        for entry in here:
            compared = None
            shared = tuple(seed for seed in entry.seeds if best is not None and seed in best.seeds)
            if best is not None and best != entry and shared:
                compared = to_differences(table(best, shared), table(entry, shared))

            labelled = next(iter(_read(entry, entry.seeds[:1]).values()))
            row = Row(
                entry=entry,
                scores=to_intervals(table(entry, entry.seeds), labelled),
                main=main,
                primary=primary,
                baseline=None if best is None else best.method,
                differences=compared,
            )
            rows.append(row)
    return rows


def primary_metrics(tasks: Mapping[str, Task]) -> dict[str, Metric]:
    """Return the primary metric of each task and, where several tasks share it, of their mean."""
    first = {name: task.metrics[0] for name, task in tasks.items()}
    if len(first) > 1 and len({metric.name for metric in first.values()}) == 1:
        first[MEAN] = next(iter(first.values()))
    return first


def score_seeds(by_seed: Mapping[int, Mapping[str, Scored]], replicates: int) -> Table:
    """Return [1 + replicates] values a task and metric: the mean over the seeds, then one a draw.

    A draw is one of subjects and seeds. All seeds are scored in one bootstrap, as if each were a
    task of its own, so that a subject that is drawn is drawn in every seed. The folds of different
    seeds have different numbers.
    """
    # Score all seeds at once.
    apart = {
        f"{seed}/{task}": part.of(_apart(part.predictions, number))
        for number, (seed, tasks) in enumerate(by_seed.items())
        for task, part in tasks.items()
    }
    table = bootstrap(apart, replicates=replicates)

    # Average over the seeds, and over those that each replicate draws.
    drawn = np.random.default_rng(0).integers(0, len(by_seed), (replicates, len(by_seed)))
    seeds, tasks = list(by_seed), next(iter(by_seed.values()))
    averaged: Table = {}
    for task in tasks:
        averaged[task] = {}
        for metric in table[f"{seeds[0]}/{task}"]:
            values = np.stack([table[f"{seed}/{task}"][metric] for seed in seeds])
            draws = np.take_along_axis(values[:, 1:], drawn.T, axis=0)
            mean, means = defined_mean(list(values[:, :1])), defined_mean(list(draws))
            averaged[task][metric] = np.r_[mean, means]

    if len(tasks) > 1 and (overall := mean_of_tasks(averaged)):
        averaged[MEAN] = overall
    return averaged


def write_table(path: Path, rows: Sequence[Row]) -> None:
    """Write one line a row, task and metric as Parquet."""
    lines = [line for row in rows for line in _lines(row)]
    with atomic_path(path) as partial:
        pl.DataFrame(lines, infer_schema_length=None).write_parquet(partial)


def costs(entry: MethodScores) -> dict[str, Any]:
    """Return the costs of an entry's trials, means over the seeds, and the number of weights."""
    found: dict[str, Any] = {}
    for name in COSTS:
        found[name] = float(np.mean([about[name] for about in entry.about]))
    return {**found, "parameters": entry.about[0]["parameters"]}


def _lines(row: Row) -> list[dict[str, Any]]:
    """Return a line of the table a task and metric; counts under 11 are null."""
    entry, lines = row.entry, []
    for task, metrics in row.scores.items():
        for metric, score in metrics.items():
            difference = row.differences[task][metric] if row.differences else None
            is_small = score.n_subjects < SMALLEST_SHOWN

            line = {
                "experiment": entry.experiment,
                "level": entry.level,
                "missing": entry.missing,
                "method": entry.method,
                "task": task,
                "metric": metric,
                "value": score.value,
                "low": score.low,
                "high": score.high,
                "num_subjects": None if is_small else score.n_subjects,
                "baseline": row.baseline,
                "difference": difference and difference.value,
                "difference_low": difference and difference.low,
                "difference_high": difference and difference.high,
                "p": difference and difference.p,
                "num_seeds": len(entry.seeds),
                **costs(entry),
            }
            lines.append(line)
    return lines


def _tasks(entry: MethodScores) -> dict[str, Task]:
    """Return the tasks of an entry, as its trials fitted them."""
    about = entry.about[0]["tasks"]
    tasks = make_tasks({name: part["config"] for name, part in about.items()})
    for name, task in tasks.items():
        task.load_state(about[name]["state"])
    return tasks


def _read(entry: MethodScores, seeds: Sequence[int]) -> dict[int, dict[str, Scored]]:
    """Return the predictions of an entry's trials by seed and task, with what scores them."""
    tasks, by_seed = _tasks(entry), {}
    for seed in seeds:
        folder = predictions_folder(entry.folders[seed], entry.missing)
        predictions = {name: read_predictions(folder, name, task) for name, task in tasks.items()}
        by_seed[seed] = of_tasks(predictions, tasks)
    return by_seed


def _value(scores: Mapping[str, NDArray[np.float64]], metric: Metric) -> float:
    """Return the score such that higher is better, below all others where it is undefined."""
    value = float(scores[metric.name][0])
    return metric.signed(value) if value == value else -np.inf


def _apart(predictions: Predictions, number: int) -> Predictions:
    return replace(predictions, fold=predictions.fold + number * _FOLDS)
