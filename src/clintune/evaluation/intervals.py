"""How sure a score is: a percentile bootstrap over subjects (Efron and Tibshirani, 1993), and paired differences.

The percentiles are centred on the score, see `_centred`; those of differences are plain.

Subjects are drawn with replacement with all their samples, in every task at once, so that tasks, folds and two models
are compared on the same draws. With folds the statistic is the mean over folds, and subjects are drawn within the first
fold that holds them: a subject that repeated folds score again and again still counts once.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
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
    """A score with its 95 % interval and what it rests on: subjects, samples and positives whose label is known.

    The draws of fewer than 11 subjects say little of others: such an interval is undefined.
    `n_positive` counts positive labels; it is None for a task without a positive class.
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
    """Second minus first with its 95 % interval; `p` is the two-sided bootstrap p-value of no difference."""

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
    return {
        task: {metric: _interval(values, counts[task]) for metric, values in metrics.items()}
        for task, metrics in table.items()
    }


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
                f"task {task}: the two sets of predictions are of different samples; predict both again"
            )
    one, two = (bootstrap(side, replicates=replicates, seed=seed) for side in (first, second))
    return to_differences(one, two)


def to_differences(first: Table, second: Table) -> dict[str, dict[str, Difference]]:
    """Turn what `bootstrap` returned for the same samples and seed into differences, second minus first."""
    return {
        task: {
            metric: _difference(second[task][metric] - values) for metric, values in metrics.items()
        }
        for task, metrics in first.items()
    }


def to_json(
    table: Mapping[str, Mapping[str, Interval | Difference]],
) -> dict[str, dict[str, dict[str, Any]]]:
    """Return the plain values of each task and metric, as in `metrics.json`."""
    return {
        task: {metric: score.to_json() for metric, score in scores.items()}
        for task, scores in table.items()
    }


def fold_values(tasks: Mapping[str, Scored]) -> list[dict[str, dict[str, float | None]]]:
    """Score each fold by itself, in the order of the folds: task, metric, value (None where undefined)."""
    folds = np.unique(np.concatenate([scored.predictions.fold for scored in tasks.values()]))
    results = []
    for fold in folds:
        parts = {
            name: s.of(take(s.predictions, s.predictions.fold == fold)) for name, s in tasks.items()
        }
        results.append(
            plain_values({name: part for name, part in parts.items() if len(part.predictions)})
        )
    return results


def plain_values(tasks: Mapping[str, Scored]) -> dict[str, dict[str, float | None]]:
    """Score without intervals: task, metric, value (None where undefined)."""
    table = bootstrap(tasks, replicates=0)
    return {
        task: _plain({name: float(row[0]) for name, row in scores.items()})
        for task, scores in table.items()
    }


def bootstrap(tasks: Mapping[str, Scored], *, replicates: int = REPLICATES, seed: int = 0) -> Table:
    """Return [1 + replicates] values a task and metric: first the score itself, then one a draw of the subjects."""
    subjects, strata = _number_subjects(tasks)
    largest = max(scored.predictions.predicted.size for scored in tasks.values())
    parts: dict[str, list[dict[str, Floats]]] = {name: [] for name in tasks}

    # All tasks are scored under the same draws.
    for weights in _weights(
        strata, replicates, max(1, CHUNK // max(largest, 1)), np.random.default_rng(seed)
    ):
        for name, scored in tasks.items():
            parts[name].append(_mean_over_folds(scored, weights[:, subjects[name]]))

    table = {
        name: {metric: np.concatenate([part[metric] for part in chunks]) for metric in chunks[0]}
        for name, chunks in parts.items()
    }

    if len(table) > 1:
        first, *others = table.values()
        shared = [metric for metric in first if all(metric in other for other in others)]
        mean = {
            metric: defined_mean([scores[metric] for scores in table.values()]) for metric in shared
        }
        table |= {MEAN: mean} if mean else {}
    return table


def _number_subjects(tasks: Mapping[str, Scored]) -> tuple[dict[str, Numbers], list[Numbers]]:
    """Number the subjects of all tasks together; return each task's [N] numbers and the subjects of each stratum."""
    everything = [scored.predictions for scored in tasks.values()]
    cohort = codes(np.concatenate([p.cohort for p in everything]))
    subject = codes(np.concatenate([p.subject_id for p in everything]))
    fold = np.concatenate([p.fold for p in everything])
    number = (
        np.unique(np.stack([cohort, subject]), axis=1, return_inverse=True)[1]
        .reshape(-1)
        .astype(np.int64)
    )
    home = np.full(number.max(initial=-1) + 1, np.iinfo(np.int64).max)
    np.minimum.at(home, number, fold)
    ends = np.cumsum([len(p) for p in everything])[:-1]
    return dict(zip(tasks, np.split(number, ends), strict=True)), [
        np.flatnonzero(home == h) for h in np.unique(home)
    ]


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
            draws = (
                rng.integers(0, len(members), (rows, len(members)))
                + len(members) * np.arange(rows)[:, None]
            )
            weights[:, members] = np.bincount(draws.ravel(), minlength=draws.size).reshape(
                draws.shape
            )
        yield weights


def _mean_over_folds(scored: Scored, weights: Floats) -> dict[str, Floats]:
    predictions = scored.predictions
    folds = []
    for fold in np.unique(predictions.fold):
        rows = predictions.fold == fold
        folds.append(
            scored.score(predictions.targets[rows], predictions.predicted[rows], weights[:, rows])
        )
    if not folds:
        return scored.score(predictions.targets, predictions.predicted, weights)
    return {metric: defined_mean([values[metric] for values in folds]) for metric in folds[0]}


def _interval(values: Floats, counts: Counts) -> Interval:
    few = counts.n_subjects < SMALLEST_SHOWN
    low, high = (float("nan"), float("nan")) if few else _bounds(_centred(values))
    return Interval(value=float(values[0]), low=max(low, 0.0), high=high, **counts._asdict())


def _difference(values: Floats) -> Difference:
    low, high = _bounds(values[1:])
    drawn = values[1:][~np.isnan(values[1:])]
    tail = min((drawn <= 0).sum(), (drawn >= 0).sum())
    p = min(1.0, 2 * (tail + 1) / (len(drawn) + 1)) if len(drawn) else float("nan")
    return Difference(value=float(values[0]), low=low, high=high, p=float(p))


def _centred(values: Floats) -> Floats:
    """Take the draws' own bias off them, without passing the best draw.

    Drawing subjects again doubles the noise that inflates calibration error and average precision, so that plain
    percentiles can miss the score itself; the percentiles of AUROC hardly move.
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
