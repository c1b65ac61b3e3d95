"""A cohort of any size in seconds: a short note and three facts a subject, labels where asked."""

from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from clintune.cohort.shards import CODE, MOMENT, NUMBER, SUBJECT, TEXT, TIME
from clintune.cohort.writer import BOOLEAN, PREDICTION_TIME, write_labels, write_tables

_FIRST = datetime(2020, 1, 1)  # noqa: DTZ001 (MEDS times have no zone)
_WORDS = [
    "patient",
    "stable",
    "fever",
    "cough",
    "denies",
    "pain",
    "reviewed",
    "improving",
    "oxygen",
    "weaned",
    "clear",
]
_SUBJECTS_A_FILE = 20_000


def write_cohort(root: Path, subjects: int, *, labelled: bool) -> None:
    """Write the cohort to `root`.

    With labels, a higher value of the last fact makes `outcome` more likely.
    """
    rng = np.random.default_rng(subjects)
    who = np.arange(1, subjects + 1)
    start = rng.integers(0, 3 * 365 * 1440, subjects)
    value = rng.normal(size=subjects)

    parts = [
        _rows(who, None, "AGE", number=rng.integers(18, 99, subjects)),
        _rows(who, start + 60, "NOTE//NURSING", text=_notes(rng, subjects)),
        _rows(who, start + 120, "LAB//LACTATE", number=rng.normal(size=subjects)),
        _rows(who, start + 360, "LAB//CREATININE", number=value),
    ]
    events = pl.concat(parts).sort(SUBJECT, TIME, maintain_order=True)
    write_tables(root, "scale", events, shards=-(-subjects // _SUBJECTS_A_FILE))

    if labelled:
        outcome = value + rng.normal(size=subjects) > 0
        times = _moments(start + 360)
        labels = pl.DataFrame({SUBJECT: who, PREDICTION_TIME: times, BOOLEAN: outcome})
        write_labels(root, "outcome", labels)


def _rows(
    who: NDArray[np.int64],
    minutes: NDArray[np.int64] | None,
    code: str,
    *,
    number: NDArray[np.floating | np.integer] | None = None,
    text: list[str] | None = None,
) -> pl.DataFrame:
    times = pl.lit(None, MOMENT).alias(TIME) if minutes is None else _moments(minutes).alias(TIME)
    numbers = (
        pl.lit(None, pl.Float32).alias(NUMBER)
        if number is None
        else pl.Series(NUMBER, number, pl.Float32)
    )
    texts = pl.lit(None, pl.String).alias(TEXT) if text is None else pl.Series(TEXT, text)
    return pl.DataFrame({SUBJECT: who}).select(
        SUBJECT, times, pl.lit(code).alias(CODE), numbers, texts
    )


def _moments(minutes: NDArray[np.int64]) -> pl.Series:
    return pl.Series(
        PREDICTION_TIME,
        np.datetime64(_FIRST, "us") + minutes * np.timedelta64(timedelta(minutes=1)),
    )


def _notes(rng: np.random.Generator, num: int) -> list[str]:
    return [" ".join(words) for words in rng.choice(_WORDS, (num, 12)).tolist()]
