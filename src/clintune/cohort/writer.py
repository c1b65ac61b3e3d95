"""Write a cohort: MEDS tables, media, labels, splits. Importers and generators share this."""

import json
from collections.abc import Sequence
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import polars as pl
from meds.schema import (
    CodeMetadataSchema,
    DatasetMetadataSchema,
    LabelSchema,
    SubjectSplitSchema,
    code_metadata_filepath,
    data_subdirectory,
    dataset_metadata_filepath,
    subject_splits_filepath,
)
from numpy.typing import NDArray

from clintune.cohort.shards import CODE, MEDIA_KEY, MOMENT, NUMBER, SUBJECT, TEXT, TIME

PREDICTION_TIME = LabelSchema.prediction_time_name
BOOLEAN = LabelSchema.boolean_value_name
_CORE = {SUBJECT: pl.Int64, TIME: MOMENT, CODE: pl.String, NUMBER: pl.Float32, TEXT: pl.String}


class Events:
    """The rows of a new cohort; what a row leaves out is null."""

    def __init__(self, media: Sequence[str] = ()) -> None:
        self._schema = pl.Schema({**_CORE, **dict.fromkeys(media, pl.String)})
        self._columns: dict[str, list[object]] = {name: [] for name in self._schema}

    def add(self, subject: int, time: object, code: str, **values: object) -> None:
        """Add a row: `time` is a datetime, or None for a static row; `values` are other columns."""
        row = {SUBJECT: subject, TIME: time, CODE: code, **values}
        for name, column in self._columns.items():
            column.append(row.pop(name, None))
        assert not row, f"columns that were not declared: {list(row)}"

    def table(self) -> pl.DataFrame:
        """Return the rows in MEDS order: by subject and time, static ones first."""
        table = pl.DataFrame(self._columns, schema=self._schema)
        return table.sort(SUBJECT, TIME, maintain_order=True)


def write_tables(root: Path, name: str, events: pl.DataFrame, shards: int = 1) -> None:
    """Write events to `shards` data files, with the metadata of the dataset and its codes.

    Each file has about as many subjects.
    """
    # Subjects are cut into shards in the order of their numbers.
    subjects = events[SUBJECT].unique().sort()
    for shard in range(shards):
        first, after = len(subjects) * shard // shards, len(subjects) * (shard + 1) // shards
        part = events.filter(pl.col(SUBJECT).is_in(subjects[first:after].implode()))
        _write(root / data_subdirectory / f"{shard}.parquet", part)

    codes = events.select(pl.col(CODE).unique().sort())
    empty = [pl.lit(None, pl.String).alias(CodeMetadataSchema.description_name)]
    empty += [pl.lit(None, pl.List(pl.String)).alias(CodeMetadataSchema.parent_codes_name)]
    _write(root / code_metadata_filepath, codes.with_columns(empty))

    described = {
        DatasetMetadataSchema.dataset_name_name: name,
        DatasetMetadataSchema.meds_version_name: version("meds"),
        MEDIA_KEY: [column for column in events.columns if column not in _CORE],
    }
    text = json.dumps(described, indent=2) + "\n"
    (root / dataset_metadata_filepath).write_text(text, encoding="utf-8")


def write_labels(root: Path, label: str, table: pl.DataFrame) -> None:
    """Write `labels/<label>.parquet` from subject_id, prediction_time and a value column."""
    keys = table.with_columns(pl.col(SUBJECT).cast(pl.Int64), pl.col(PREDICTION_TIME).cast(MOMENT))
    _write(root / "labels" / f"{label}.parquet", keys.sort(SUBJECT, PREDICTION_TIME))


def write_splits(root: Path, split_of_subject: dict[int, str]) -> None:
    """Write `metadata/subject_splits.parquet`."""
    path, column = root / subject_splits_filepath, SubjectSplitSchema.split_name
    write_subject_table(path, column, split_of_subject)


def write_subject_table(
    path: Path, column: str, value_of_subject: dict[int, str] | dict[int, int]
) -> None:
    """Write a table of subject_id and one column."""
    table = pl.DataFrame({SUBJECT: list(value_of_subject), column: list(value_of_subject.values())})
    _write(path, table.with_columns(pl.col(SUBJECT).cast(pl.Int64)).sort(SUBJECT))


def write_signal(
    path: Path,
    signal: NDArray[np.float32],
    rate_hz: float,
    start: datetime,
    channels: Sequence[str],
) -> None:
    """Write a signal [channels, time] as `.npz`.

    It is NaN in gaps and begins at local time `start`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        path, signal=signal, rate_hz=rate_hz, start=start.isoformat(), channels=np.array(channels)
    )


def _write(path: Path, table: pl.DataFrame) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    table.write_parquet(path)
