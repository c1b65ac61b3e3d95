"""Cohorts in memory and the parts that read them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from clintune.cohort.index import SampleIndex
from clintune.config.schema import Cohort

T0 = datetime(2020, 1, 1, 8)
EVENTS = {
    "subject_id": pl.Int64,
    "time": pl.Datetime("us"),
    "code": pl.String,
    "numeric_value": pl.Float32,
}
LABELS = {
    "subject_id": pl.Int64,
    "prediction_time": pl.Datetime("us"),
    "target": pl.List(pl.Float32),
}


@dataclass
class Reader:
    """A modality that claims the rows whose code begins with `prefix`."""

    prefix: str = ""
    media_column: str | None = None

    def row_filter(self):
        return pl.col("code").str.starts_with(self.prefix)


@dataclass
class Labels:
    """A task whose labels are given."""

    table: pl.DataFrame | None

    def read(self, root):
        return self.table


@dataclass
class People:
    """The part of a sample index that splits read."""

    subject_ids: np.ndarray
    root: Path = Path("/nowhere")


def at(minutes):
    return None if minutes is None else T0 + timedelta(minutes=minutes)


def labels(*rows):
    """Return labels from (subject, minute, target) rows."""
    columns = list(zip(*rows, strict=True)) if rows else ((), (), ())
    subjects, minutes, targets = map(list, columns)
    return pl.DataFrame([subjects, [at(minute) for minute in minutes], targets], schema=LABELS)


def write_shard(path, rows, **columns):
    """Write (subject, minute, code, value) rows; `columns` are further columns."""
    subjects, minutes, codes, values = (
        map(list, zip(*rows, strict=True)) if rows else ([], [], [], [])
    )
    table = pl.DataFrame(
        [subjects, [at(minute) for minute in minutes], codes, values], schema=EVENTS
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    table.with_columns(
        **{name: pl.Series(cells, dtype=pl.String) for name, cells in columns.items()}
    ).write_parquet(path)


def declare_media(root, *columns):
    (root / "metadata").mkdir(parents=True, exist_ok=True)
    (root / "metadata/dataset.json").write_text(
        json.dumps({"additional_value_modality_columns": columns})
    )


def items_of(index, row, modality="codes"):
    """Return what a sample sees of a modality."""
    return list(index.rows[modality].read(*index.seen(modality, np.array([row]))[:2]))


def open_index(
    root: Path,
    tasks: Mapping[str, pl.DataFrame | None],
    modalities: Mapping[str, Reader] | None = None,
    lookback_hours: float | None = None,
    unknown_subjects: str = "error",
) -> SampleIndex:
    cohort = Cohort(
        root=str(root), lookback_hours=lookback_hours, unknown_subjects=unknown_subjects
    )
    readers = {name: Labels(table) for name, table in tasks.items()}
    return SampleIndex.open(
        "made_up", cohort, modalities or {"codes": Reader()}, readers, root / "cache"
    )
