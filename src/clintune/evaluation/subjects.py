"""The subjects behind predictions.

Here rows and outputs are chosen, a subject's samples are averaged, and labels are counted.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from clintune.contracts import Predictions
from clintune.core.errors import DataError
from clintune.evaluation.scored import Scored
from clintune.tasks.questions import BinaryView


class Counts(NamedTuple):
    """Distinct subjects and samples with a known label, and positive labels.

    The last is None without a positive class.
    """

    n_subjects: int
    n_samples: int
    n_positive: int | None


def take(predictions: Predictions, rows: NDArray[np.bool_]) -> Predictions:
    """Return the predictions of some rows, given by a mask."""
    pairs = zip(predictions.prediction_time, rows, strict=True)
    return Predictions(
        cohort=predictions.cohort[rows],
        subject_id=predictions.subject_id[rows],
        prediction_time=[time for time, kept in pairs if kept],
        fold=predictions.fold[rows],
        targets=predictions.targets[rows],
        predicted=predictions.predicted[rows],
    )


def one_output(predictions: Predictions, i: int) -> Predictions:
    """Return column `i` of targets and predictions as those of a yes-or-no task."""
    part = slice(i, i + 1)
    targets, predicted = predictions.targets[:, part], predictions.predicted[:, part]
    return replace(predictions, targets=targets, predicted=predicted)


def per_subject(predictions: Predictions) -> Predictions:
    """Average the predictions of each subject's samples, fold by fold.

    The prediction time is the subject's last. Raises DataError where known labels differ between
    the samples of a subject.
    """
    parts = (predictions.cohort, predictions.subject_id, predictions.fold)
    keys = np.stack([codes(part) for part in parts])
    _, first, owner = np.unique(keys, axis=1, return_index=True, return_inverse=True)
    owner, size = owner.reshape(-1), len(first)

    # The labels of a subject must agree.
    lowest = np.full((size, predictions.targets.shape[1]), np.nan, np.float32)
    highest = lowest.copy()
    np.fmin.at(lowest, owner, predictions.targets)
    np.fmax.at(highest, owner, predictions.targets)
    mixed = int((lowest < highest).any(axis=1).sum())
    if mixed:
        raise DataError(
            f"labels differ between the samples of {mixed} of {size} subjects; "
            "set per_subject to false"
        )

    # Average.
    sums = np.zeros((size, predictions.predicted.shape[1]))
    np.add.at(sums, owner, predictions.predicted)
    times = pl.DataFrame({"owner": owner, "time": predictions.prediction_time})
    times = times.group_by("owner").max().sort("owner")

    return Predictions(
        cohort=predictions.cohort[first],
        subject_id=predictions.subject_id[first],
        prediction_time=times["time"].to_list(),
        fold=predictions.fold[first],
        targets=lowest,
        predicted=(sums / np.bincount(owner, minlength=size)[:, None]).astype(np.float32),
    )


def number_subjects(predictions: Predictions) -> NDArray[np.int64]:
    """Return the number of each row's subject [N]: equal ids in two cohorts are two subjects."""
    pairs = np.stack([codes(predictions.cohort), codes(predictions.subject_id)])
    return np.unique(pairs, axis=1, return_inverse=True)[1].reshape(-1).astype(np.int64)


def subjects_having(predictions: Predictions, view: BinaryView) -> int:
    """Return how many distinct subjects have the outcome that a view asks for."""
    return len(np.unique(number_subjects(predictions)[view.outcome(predictions.targets) == 1]))


def count_labels(several: Sequence[Scored]) -> Counts:
    """Count over tasks; a sample that repeated folds predict again and again counts once."""
    tables = [_labelled(scored) for scored in several]
    samples = pl.concat(tables).unique(["cohort", "subject_id", "time"])
    positive = [table["positive"].sum() for table in tables if table["positive"].dtype != pl.Null]
    return Counts(
        n_subjects=samples.select("cohort", "subject_id").n_unique(),
        n_samples=len(samples),
        n_positive=int(sum(positive)) if len(positive) == len(tables) else None,
    )


def codes(values: NDArray[Any]) -> NDArray[np.int64]:
    """Return the number of each value among the distinct ones."""
    return np.unique(values, return_inverse=True)[1].astype(np.int64)


def _labelled(scored: Scored) -> pl.DataFrame:
    predictions = scored.predictions
    table = pl.DataFrame(
        {
            "cohort": predictions.cohort.astype(str),
            "subject_id": predictions.subject_id,
            "time": pl.Series(predictions.prediction_time, dtype=pl.Datetime("us")),
            "positive": scored.positives(predictions.targets),
            "known": ~np.isnan(predictions.targets).all(axis=1),
        }
    )
    keys = ["cohort", "subject_id", "time"]
    return table.filter("known").unique(keys, keep="first", maintain_order=True)
