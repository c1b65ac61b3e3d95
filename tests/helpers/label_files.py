"""Label files of made-up subjects."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path

import polars as pl

MOMENT = datetime(2020, 1, 1, 8)


def write_labels(
    path: Path,
    values: Sequence[object] | pl.Series = (True, False),
    column: str = "boolean_value",
    *,
    subjects: Iterable[int] | None = None,
    zone: str | None = None,
) -> None:
    """Write a value for each of some subjects, from 0 by default, at one time of one clock."""
    times = pl.Series([MOMENT] * len(values), dtype=pl.Datetime("us", None))
    table = {
        "subject_id": range(len(values)) if subjects is None else subjects,
        "prediction_time": times.dt.replace_time_zone(zone),
        column: values,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    pl.DataFrame(table).write_parquet(path)
