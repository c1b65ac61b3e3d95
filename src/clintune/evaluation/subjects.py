"""The subjects behind predictions: choosing rows and outputs, averaging over a subject's samples, counting labels."""

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from clintune.contracts import Predictions
from clintune.core.errors import DataError


class Counts(NamedTuple):
    """Distinct subjects and samples with a known label, and positive labels (None without a positive class)."""

    n_subjects: int
    n_samples: int
    n_positive: int | None


def take(predictions: Predictions, rows: NDArray[np.bool_]) -> Predictions:
    """Return the predictions of some rows, given by a mask."""
    return Predictions(
        cohort=predictions.cohort[rows],
        subject_id=predictions.subject_id[rows],
        prediction_time=[time for time, kept in zip(predictions.prediction_time, rows, strict=True) if kept],
        fold=predictions.fold[rows],
        targets=predictions.targets[rows],
        probabilities=predictions.probabilities[rows],
    )


def one_output(predictions: Predictions, i: int) -> Predictions:
    """Return the predictions of output `i` as those of a yes-or-no task."""
    part = slice(i, i + 1)
    return replace(predictions, targets=predictions.targets[:, part], probabilities=predictions.probabilities[:, part])


def per_subject(predictions: Predictions) -> Predictions:
    """Average the probabilities of each subject's samples (a fold at a time), at the subject's last prediction time.

    Raises DataError where known labels differ between the samples of a subject.
    """
    keys = np.stack([codes(predictions.cohort), codes(predictions.subject_id), codes(predictions.fold)])
    _, first, owner = np.unique(keys, axis=1, return_index=True, return_inverse=True)
    owner, size = owner.reshape(-1), len(first)

    lowest = np.full((size, predictions.targets.shape[1]), np.nan, np.float32)
    highest = lowest.copy()
    np.fmin.at(lowest, owner, predictions.targets)
    np.fmax.at(highest, owner, predictions.targets)
    mixed = int((lowest < highest).any(axis=1).sum())
    if mixed:
        raise DataError(f"labels differ between the samples of {mixed} of {size} subjects; set per_subject to false")

    sums = np.zeros((size, predictions.probabilities.shape[1]))
    np.add.at(sums, owner, predictions.probabilities)
    times = pl.DataFrame({"owner": owner, "time": predictions.prediction_time}).group_by("owner").max().sort("owner")

    return Predictions(
        cohort=predictions.cohort[first],
        subject_id=predictions.subject_id[first],
        prediction_time=times["time"].to_list(),
        fold=predictions.fold[first],
        targets=lowest,
        probabilities=(sums / np.bincount(owner, minlength=size)[:, None]).astype(np.float32),
    )


def number_subjects(predictions: Predictions) -> NDArray[np.int64]:
    """Return the number of each row's subject [N]: equal ids in two cohorts are two subjects."""
    pairs = np.stack([codes(predictions.cohort), codes(predictions.subject_id)])
    return np.unique(pairs, axis=1, return_inverse=True)[1].reshape(-1).astype(np.int64)


def one_hot(targets: NDArray[np.float32], num_outputs: int) -> NDArray[np.float32]:
    """Return targets as columns [N, O] of 0 and 1, NaN where unknown: those of classes come as numbers [N, 1]."""
    if targets.shape[1] == num_outputs:
        return targets
    return np.where(np.isnan(targets), np.nan, targets == np.arange(num_outputs)).astype(np.float32)


def subjects_having(predictions: Predictions, num_outputs: int) -> NDArray[np.int64]:
    """Return how many distinct subjects have each class or phenotype [O]."""
    subject, having = number_subjects(predictions), one_hot(predictions.targets, num_outputs) == 1
    return np.array([len(np.unique(subject[column])) for column in having.T], np.int64)


def count_labels(several: list[Predictions]) -> Counts:
    """Count over tasks; a sample that repeated folds predict again and again counts once."""
    tables = [_labelled(predictions) for predictions in several]
    samples = pl.concat(tables).unique(["cohort", "subject_id", "time"])
    classes = any(p.targets.shape[1] < p.probabilities.shape[1] for p in several)
    positive = None if classes else sum(int(table["positive"].sum()) for table in tables)
    return Counts(samples.select("cohort", "subject_id").n_unique(), len(samples), positive)


def codes(values: NDArray[Any]) -> NDArray[np.int64]:
    """Return the number of each value among the distinct ones."""
    return np.unique(values, return_inverse=True)[1].astype(np.int64)


def _labelled(predictions: Predictions) -> pl.DataFrame:
    table = pl.DataFrame(
        {
            "cohort": predictions.cohort.astype(str),
            "subject_id": predictions.subject_id,
            "time": pl.Series(predictions.prediction_time, dtype=pl.Datetime("us")),
            "positive": (predictions.targets == 1).sum(axis=1),
            "known": ~np.isnan(predictions.targets).all(axis=1),
        }
    )
    return table.filter("known").unique(["cohort", "subject_id", "time"], keep="first", maintain_order=True)
