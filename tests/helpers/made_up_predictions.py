"""Predictions of made-up subjects."""

from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from clintune.contracts import Predictions


def predictions_of(targets: ArrayLike, predicted: ArrayLike, **columns: Any) -> Predictions:
    """Return predictions of N samples, each of a subject of its own; `columns` are others."""
    size = len(targets)
    made_up = {
        "cohort": np.full(size, "here"),
        "subject_id": np.arange(size),
        "prediction_time": [datetime(2020, 1, 1)] * size,
        "fold": np.zeros(size, np.int64),
    }
    return Predictions(
        targets=np.asarray(targets, np.float32).reshape(size, -1),
        predicted=np.asarray(predicted, np.float32).reshape(size, -1),
        **{**made_up, **columns},
    )
