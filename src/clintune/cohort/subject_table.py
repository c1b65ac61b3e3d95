"""Tables with one row a subject that belong to a cohort: splits, folds, links, groups."""

from pathlib import Path

import numpy as np
import polars as pl

from clintune.cohort.shards import SUBJECT, UNREADABLE
from clintune.core.errors import DataError
from clintune.core.files import is_other_table

_INT64 = np.iinfo(np.int64)


def has_subject_table(path: Path) -> bool:
    """Return whether a cohort has an optional Parquet file.

    Raises DataError where it has the table in another format, which would not be read.
    """
    if not path.exists() and path.parent.is_dir():
        names = sorted(path.parent.iterdir())
        twins = (other for other in names if other.name.startswith(f"{path.stem}."))
        if other := next(filter(is_other_table, twins), None):
            raise DataError(f"{other}: is not read; write it as {path.name}")
    return path.exists()


def read_subject_table(path: Path, *columns: str) -> pl.DataFrame:
    """Read a Parquet or CSV file: the subject and the named columns, or all where none is named.

    Raises DataError unless subjects are whole numbers, each in one row, and all columns are there.
    """
    if not path.is_file():
        raise DataError(f"{path}: is missing; write it, or correct its path in the recipe")
    try:
        is_csv = path.suffix == ".csv"
        table = pl.read_csv(path, glob=False) if is_csv else pl.read_parquet(path, glob=False)
    except UNREADABLE as error:
        raise DataError(
            f"{path}: cannot be read as a table ({type(error).__name__}); write it again"
        ) from error

    # The columns that are needed.
    wanted = (SUBJECT, *columns)
    missing = [name for name in wanted if name not in table.columns]
    if missing:
        raise DataError(f"{path}: lacks column {missing[0]}; it needs {' and '.join(wanted)}")
    table = table.select(wanted) if columns else table

    # Subjects as int64, each once.
    if not table[SUBJECT].dtype.is_integer():
        raise DataError(
            f"{path}: column {SUBJECT} is {table[SUBJECT].dtype}; MEDS wants int64: cast it"
        )
    if not table[SUBJECT].is_between(_INT64.min, _INT64.max).all():
        raise DataError(f"{path}: column {SUBJECT} has a number that int64 cannot hold; correct it")
    table = table.with_columns(pl.col(SUBJECT).cast(pl.Int64))

    twice = table[SUBJECT].is_duplicated()
    if twice.any():
        raise DataError(
            f"{path}: row {twice.arg_true()[0]} has a subject with another row; "
            "keep one row a subject"
        )
    return table
