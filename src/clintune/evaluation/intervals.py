"""How sure a score is: a percentile bootstrap over subjects (Efron and Tibshirani, 1993).

Differences are those of paired draws. The percentiles are centred on the score, see `_centred`;
those of differences are plain.

Subjects are drawn with replacement with all their samples, in every task at once, so that tasks,
folds and two models are compared on the same draws. With folds the statistic is the mean over
folds, and subjects are drawn within the first fold that holds them: a subject that repeated folds
score again and again still counts once.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from math import inf
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clintune.contracts import Predictions
from clintune.core.disclosure import SMALLEST_SHOWN
from clintune.core.errors import DataError
from clintune.evaluation.scored import Scored
from clintune.evaluation.subjects import Counts, codes, count_labels, take
from clintune.metrics import defined_mean

Floats = NDArray[np.float64]
Numbers = NDArray[np.int64]
Table = dict[str, dict[str, Floats]]
"""Values of each task and metric."""

REPLICATES = 1000
LEVEL = 0.95
MEAN = "mean"
"""Name under which the mean over several tasks is reported."""

CHUNK = 4_000_000
"""Weights that are held at once."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """A score with its 95 % interval and what it rests on.

    That is subjects, samples and positives whose label is known. Draws of fewer than 11 subjects
    say little of others: such an interval is undefined. `n_positive` counts positive labels; it is
    None for a task without a positive class.
    """

    value: float
    low: float
    high: float
    n_subjects: int
    n_samples: int
    n_positive: int | None

    def to_json(self) -> dict[str, Any]:
        """Return plain values, None where undefined."""
        return _plain(asdict(self))


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """Second minus first with its 95 % interval.

    `p` is the two-sided bootstrap p-value of no difference.
    """

    value: float
    low: float
    high: float
    p: float

    def to_json(self) -> dict[str, Any]:
        """Return plain values, None where undefined."""
        return _plain(asdict(self))


def intervals(
    tasks: Mapping[str, Scored], *, replicates: int = REPLICATES, seed: int = 0
) -> dict[str, dict[str, Interval]]:
    """Score every task with intervals; several tasks also get their mean, as `mean`."""
    return to_intervals(bootstrap(tasks, replicates=replicates, seed=seed), tasks)


def to_intervals(table: Table, tasks: Mapping[str, Scored]) -> dict[str, dict[str, Interval]]:
    """Turn what `bootstrap` returned for these tasks into intervals."""
    counts = {name: count_labels([scored]) for name, scored in tasks.items()}
    counts[MEAN] = count_labels(list(tasks.values()))

    # Centring may carry a draw below the least value that a metric has.
    least: dict[str, float] = {}
    for scored in tasks.values():
        for metric in scored.metrics:
            least[metric.name] = min(metric.bounds[0], least.get(metric.name, inf))

    found = {}
    for task, metrics in table.items():
        found[task] = {
            name: _interval(values, counts[task], least[name]) for name, values in metrics.items()
        }
    return found


def paired_differences(
    first: Mapping[str, Scored],
    second: Mapping[str, Scored],
    *,
    replicates: int = REPLICATES,
    seed: int = 0,
) -> dict[str, dict[str, Difference]]:
    """Bootstrap the difference itself, second minus first, over the same draws of subjects.

    Raises DataError where the two do not predict the same labelled samples in the same order.
    """
    for task, scored in first.items():
        if not _same_samples(scored.predictions, second[task].predictions):
            raise DataError(
                f"task {task}: the two sets of predictions are of different samples; "
                "predict both again"
            )

    one, two = (bootstrap(side, replicates=replicates, seed=seed) for side in (first, second))
    return to_differences(one, two)


def to_differences(first: Table, second: Table) -> dict[str, dict[str, Difference]]:
    """Turn what `bootstrap` returned for the same samples and seed into differences.

    They are second minus first.
    """
    found = {}
    for task, metrics in first.items():
        other = second[task]
        found[task] = {name: _difference(other[name] - values) for name, values in metrics.items()}
    return found


def to_json(
    table: Mapping[str, Mapping[str, Interval | Difference]],
) -> dict[str, dict[str, dict[str, Any]]]:
    """Return the plain values of each task and metric, as in `metrics.json`."""
    found = {}
    for task, scores in table.items():
        found[task] = {metric: score.to_json() for metric, score in scores.items()}
    return found


def fold_values(tasks: Mapping[str, Scored]) -> list[dict[str, dict[str, float | None]]]:
    """Score each fold by itself, in the order of the folds.

    Each has task, metric, value (None where undefined).
    """
    folds = np.unique(np.concatenate([scored.predictions.fold for scored in tasks.values()]))
    results = []
    for fold in folds:
        parts = {}
        for name, scored in tasks.items():
            part = take(scored.predictions, scored.predictions.fold == fold)
            if len(part):
                parts[name] = scored.of(part)
        results.append(plain_values(parts))
    return results


def plain_values(tasks: Mapping[str, Scored]) -> dict[str, dict[str, float | None]]:
    """Score without intervals: task, metric, value (None where undefined)."""
    found = {}
    for task, scores in bootstrap(tasks, replicates=0).items():
        found[task] = _plain({name: float(row[0]) for name, row in scores.items()})
    return found


def bootstrap(tasks: Mapping[str, Scored], *, replicates: int = REPLICATES, seed: int = 0) -> Table:
    """Return [1 + replicates] values a task and metric: the score itself, then one a draw."""
    subjects, strata = _number_subjects(tasks)
    largest = max(scored.predictions.predicted.size for scored in tasks.values())
    chunk, rng = max(1, CHUNK // max(largest, 1)), np.random.default_rng(seed)

    # All tasks are scored under the same draws of subjects.
    chunks: dict[str, list[dict[str, Floats]]] = {name: [] for name in tasks}
    for weights in _weights(strata, replicates, chunk, rng):
        for name, scored in tasks.items():
            chunks[name].append(_mean_over_folds(scored, weights[:, subjects[name]]))

    table: Table = {}
    for name, parts in chunks.items():
        table[name] = {}
        for metric in parts[0]:
            table[name][metric] = np.concatenate([part[metric] for part in parts])

    if len(table) > 1 and (mean := mean_of_tasks(table)):
        table[MEAN] = mean
    return table


def mean_of_tasks(table: Table) -> dict[str, Floats]:
    """Return the mean over the tasks of each metric that all of them have."""
    first, *others = table.values()
    mean = {}
    for metric in first:
        if all(metric in scores for scores in others):
            mean[metric] = defined_mean([scores[metric] for scores in table.values()])
    return mean


def _number_subjects(tasks: Mapping[str, Scored]) -> tuple[dict[str, Numbers], list[Numbers]]:
    """Number the subjects of all tasks together.

    Return each task's numbers [N], and the subjects of each stratum.
    """
    everything = [scored.predictions for scored in tasks.values()]
    cohort = codes(np.concatenate([p.cohort for p in everything]))
    subject = codes(np.concatenate([p.subject_id for p in everything]))
    fold = np.concatenate([p.fold for p in everything])

    # Equal ids in two cohorts are two subjects.
    _, number = np.unique(np.stack([cohort, subject]), axis=1, return_inverse=True)
    number = number.reshape(-1).astype(np.int64)
    ends = np.cumsum([len(p) for p in everything])[:-1]
    by_task = dict(zip(tasks, np.split(number, ends), strict=True))

    # The stratum of a subject is the first fold that holds it.
    home = np.full(number.max(initial=-1) + 1, np.iinfo(np.int64).max)
    np.minimum.at(home, number, fold)
    return by_task, [np.flatnonzero(home == first) for first in np.unique(home)]


def _weights(
    strata: list[Numbers], replicates: int, chunk: int, rng: np.random.Generator
) -> Iterator[Floats]:
    """Yield weights [r, subjects]: ones first, then how often each subject is drawn."""
    size = sum(map(len, strata))
    yield np.ones((1, size))
    for start in range(0, replicates, chunk):
        rows = min(chunk, replicates - start)
        weights = np.zeros((rows, size))
        for members in strata:
            # Each row of draws has a range of its own, so that one count serves all rows.
            drawn = rng.integers(0, len(members), (rows, len(members)))
            drawn = drawn + len(members) * np.arange(rows)[:, None]
            counts = np.bincount(drawn.ravel(), minlength=drawn.size)
            weights[:, members] = counts.reshape(drawn.shape)
        yield weights


def _mean_over_folds(scored: Scored, weights: Floats) -> dict[str, Floats]:
    """Return the mean over the folds of each metric, as [R] values under weights [R, N]."""
    predictions = scored.predictions
    targets, predicted = predictions.targets, predictions.predicted
    folds = []
    for fold in np.unique(predictions.fold):
        rows = predictions.fold == fold
        folds.append(scored.score(targets[rows], predicted[rows], weights[:, rows]))

    if not folds:
        return scored.score(targets, predicted, weights)
    means = {}
    for metric in folds[0]:
        means[metric] = defined_mean([values[metric] for values in folds])
    return means


def _interval(values: Floats, counts: Counts, least: float) -> Interval:
    few = counts.n_subjects < SMALLEST_SHOWN
    low, high = (float("nan"), float("nan")) if few else _bounds(_centred(values))
    return Interval(value=float(values[0]), low=max(low, least), high=high, **counts._asdict())


def _difference(values: Floats) -> Difference:
    low, high = _bounds(values[1:])
    drawn = values[1:][~np.isnan(values[1:])]
    tail = min((drawn <= 0).sum(), (drawn >= 0).sum())
    p = min(1.0, 2 * (tail + 1) / (len(drawn) + 1)) if len(drawn) else float("nan")
    return Difference(value=float(values[0]), low=low, high=high, p=float(p))


def _centred(values: Floats) -> Floats:
    """Take the draws' own bias off them, without passing the best draw.

    Drawing subjects again doubles the noise that inflates calibration error and average precision,
    so that plain percentiles can miss the score itself; the percentiles of AUROC hardly move.
    """
    draws = values[1:][~np.isnan(values[1:])]
    if not len(draws):
        return draws
    centred: Floats = draws - draws.mean() + values[0]
    return np.minimum(centred, max(float(draws.max()), float(values[0])))


def _bounds(draws: Floats) -> tuple[float, float]:
    """Return the percentiles of the draws that are defined."""
    defined = draws[~np.isnan(draws)]
    if not len(defined):
        return float("nan"), float("nan")
    low, high = np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _same_samples(first: Predictions, second: Predictions) -> bool:
    return first.prediction_time == second.prediction_time and all(
        np.array_equal(getattr(first, name), getattr(second, name), equal_nan=name == "targets")
        for name in ("cohort", "subject_id", "fold", "targets")
    )


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    return {
        name: None if isinstance(value, float) and np.isnan(value) else value
        for name, value in values.items()
    }
