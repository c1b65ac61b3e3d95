"""Predictions of samples beside their labels, for scores."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from clintune.cohort.samples import Samples
from clintune.contracts import Predictions
from clintune.evaluation.subjects import per_subject


def to_predictions(
    samples: Samples,
    rows: NDArray[np.int64],
    task: str,
    predicted: NDArray[np.float32],
    fold: int,
    by_subject: bool,
) -> Predictions:
    """Return the predictions of one task for the samples `rows`, averaged by subject if asked."""
    predictions = Predictions(
        cohort=samples.cohort[rows],
        subject_id=samples.subject_id[rows],
        prediction_time=samples.prediction_time[rows].tolist(),
        fold=np.full(len(rows), fold, np.int64),
        targets=samples.targets(task)[rows],
        predicted=predicted,
    )
    return per_subject(predictions) if by_subject else predictions


def concatenate(parts: Sequence[Predictions]) -> Predictions:
    """Return the predictions of several folds as one."""
    return Predictions(
        cohort=np.concatenate([part.cohort for part in parts]),
        subject_id=np.concatenate([part.subject_id for part in parts]),
        prediction_time=[time for part in parts for time in part.prediction_time],
        fold=np.concatenate([part.fold for part in parts]),
        targets=np.concatenate([part.targets for part in parts]),
        predicted=np.concatenate([part.predicted for part in parts]),
    )
