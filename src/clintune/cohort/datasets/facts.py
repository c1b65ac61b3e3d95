"""People with facts and outcomes but no times: shared by the importers of plain tables.

Facts are rows without a time, and everybody is predicted at one made-up moment. People with the
same facts are linked: otherwise a fold could hold out one of them and train on another, and memory
would answer.
"""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
from meds.schema import LabelSchema
from numpy.typing import NDArray

from clintune.cohort.linked import LINKED_FILE
from clintune.cohort.shards import CODE, MOMENT, NUMBER, SUBJECT, TEXT, TIME
from clintune.cohort.splits import assign_folds
from clintune.cohort.writer import (
    BOOLEAN,
    PREDICTION_TIME,
    write_labels,
    write_subject_table,
    write_tables,
)

PREDICTED = datetime(2000, 1, 1)  # noqa: DTZ001 (MEDS times have no zone)
"""The moment at which everybody is predicted."""
FLOAT = LabelSchema.float_value_name
CATEGORY = LabelSchema.categorical_value_name
DAYS_PER_MONTH = 365.25 / 12
FOLDS_FILE = "metadata/folds.parquet"
_NUM_FOLDS = 5


class _People(NamedTuple):
    """The people of whom folds are drawn, one sample each."""

    root: Path
    subject_ids: NDArray[np.int64]


def write_people(
    root: Path, name: str, subjects: pl.Series, facts: Mapping[str, pl.Series]
) -> None:
    """Write a cohort of `subjects` with `facts`, columns by code; link people with the same facts.

    A number becomes a row of its code with a value, a text a row of `code//text`, a null no row.
    """
    cells = pl.DataFrame([column.alias(code) for code, column in facts.items()])
    parts = [_rows(subjects, code, cells[code]) for code in cells.columns]
    write_tables(root, name, pl.concat(parts).sort(SUBJECT, maintain_order=True))

    shared = {"unit": pl.col(SUBJECT).min(), "alike": pl.len()}
    by_facts = {name: value.over(cells.columns) for name, value in shared.items()}
    units = cells.with_columns(subjects.alias(SUBJECT)).with_columns(**by_facts)
    linked = units.filter(pl.col("alike") > 1).select(SUBJECT, "unit")
    if len(linked):
        write_subject_table(root / LINKED_FILE, "unit", dict(linked.iter_rows()))


def _rows(subjects: pl.Series, code: str, column: pl.Series) -> pl.DataFrame:
    """Return the rows of one fact, without people who lack it."""
    is_text = column.dtype == pl.String
    table = pl.DataFrame({SUBJECT: subjects.cast(pl.Int64), "cell": column}).drop_nulls("cell")

    return table.select(
        SUBJECT,
        pl.lit(None, MOMENT).alias(TIME),
        (pl.lit(f"{code}//") + pl.col("cell") if is_text else pl.lit(code)).alias(CODE),
        (pl.lit(None, pl.Float32) if is_text else pl.col("cell").cast(pl.Float32)).alias(NUMBER),
        pl.lit(None, pl.String).alias(TEXT),
    )


def write_outcome(
    root: Path, label: str, subjects: pl.Series, values: Mapping[str, pl.Series]
) -> None:
    """Write a label of people: value columns of MEDS by name, null where unknown."""
    kinds = {BOOLEAN: pl.Boolean, FLOAT: pl.Float32, CATEGORY: pl.String}
    known = {name: column.cast(kinds[name]) for name, column in values.items()}
    moments = pl.repeat(PREDICTED, len(subjects), dtype=MOMENT, eager=True)
    write_labels(root, label, pl.DataFrame({SUBJECT: subjects, PREDICTION_TIME: moments, **known}))


def write_folds(root: Path, subjects: pl.Series, balanced: pl.Series) -> None:
    """Write five folds that keep linked people together and balance a number.

    The number may say whether the event was seen. The folds are those that `cv: 5` draws with
    seed 0.
    """
    targets = balanced.cast(pl.Float32).fill_null(float("nan")).to_numpy()[:, None]
    people = _People(root, subjects.cast(pl.Int64).to_numpy())
    folds = assign_folds(people, _NUM_FOLDS, 0, 0, targets)
    fold_of = dict(zip(subjects.to_list(), folds.tolist(), strict=True))
    write_subject_table(root / FOLDS_FILE, "fold", fold_of)
