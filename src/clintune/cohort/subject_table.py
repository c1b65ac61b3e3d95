"""Tables with one row a subject that belong to a cohort: splits, folds, links, groups."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl

from clintune.cohort.listing import is_other_table
from clintune.cohort.shards import SUBJECT, UNREADABLE
from clintune.core.errors import DataError
from clintune.core.problems import Problem, raise_first


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

    raise_first(table_problems(table, path, columns))
    table = table.select(SUBJECT, *columns) if columns else table
    return table.with_columns(pl.col(SUBJECT).cast(pl.Int64))


def table_problems(table: pl.DataFrame, path: Path, columns: Sequence[str]) -> Iterator[Problem]:
    """Yield each column that is missing, and what is wrong with the subjects."""
    where, wanted = str(path), (SUBJECT, *columns)
    for name in wanted:
        if name not in table.columns:
            yield Problem(where, f"lacks column {name}", f"it needs {' and '.join(wanted)}")
    if SUBJECT not in table.columns:
        return

    subjects = table[SUBJECT]
    if not subjects.dtype.is_integer():
        what = f"column {SUBJECT} is {subjects.dtype}"
        yield Problem(where, what, "MEDS wants int64: cast it")
        return
    if subjects.cast(pl.Int64, strict=False).null_count() > subjects.null_count():
        what = f"column {SUBJECT} has a number that int64 cannot hold"
        yield Problem(where, what, "correct it")

    # Each subject stands once.
    twice = subjects.is_duplicated().arg_true()
    if len(twice):
        what = f"row {twice[0]} has a subject with another row"
        yield Problem(where, what, "keep one row a subject")
