"""Raw tables of a data set: read them, and say in one line what is wrong with them."""

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from clintune.cohort.shards import UNREADABLE
from clintune.core.errors import DataError


def read_raw(
    path: Path,
    columns: Sequence[str],
    home: str,
    unknown: Sequence[str] = (),
    optional: Sequence[str] = (),
) -> pl.DataFrame:
    """Read columns of a CSV file as text, stripped, null where empty or one of `unknown`.

    Columns that are `optional` are read where the file has them. Bytes that are not UTF-8 are
    replaced. Raises DataError for a file that is missing or damaged or lacks a column; the error
    says that the data set is at `home`.
    """
    if not path.is_file():
        raise DataError(f"{path}: is missing; download the data set from {home}, or correct `raw`")
    try:
        table = pl.read_csv(
            path, glob=False, infer_schema=False, encoding="utf8-lossy", truncate_ragged_lines=True
        )
    except pl.exceptions.PolarsError as error:
        raise DataError(
            f"{path}: not a readable CSV file ({type(error).__name__}); "
            f"download it again from {home}"
        ) from error

    there = [name for name in optional if name in table.columns]
    return _cleaned(table, path, [*columns, *there], home, unknown)


def read_either(
    folder: Path, name: str, columns: Sequence[str], home: str, unknown: Sequence[str] = ()
) -> tuple[Path, pl.DataFrame]:
    """Read `name.parquet`, or else `name.csv`, as `read_raw` does; return its path as well."""
    path = folder / f"{name}.parquet"
    if not path.is_file():
        return folder / f"{name}.csv", read_raw(folder / f"{name}.csv", columns, home, unknown)
    try:
        table = pl.read_parquet(path, glob=False)
    except UNREADABLE as error:
        raise DataError(
            f"{path}: not a readable Parquet file ({type(error).__name__}); write it again"
        ) from error
    text = table.with_columns(pl.all().cast(pl.String))
    return path, _cleaned(text, path, columns, home, unknown)


def _cleaned(
    table: pl.DataFrame, path: Path, columns: Sequence[str], home: str, unknown: Sequence[str]
) -> pl.DataFrame:
    """Return columns of text as `read_raw` does; DataError for a missing one."""
    missing = [name for name in columns if name not in table.columns]
    if missing:
        raise DataError(
            f"{path}: lacks column {missing[0]}; download the data set again from {home}"
        )

    text = pl.all().str.strip_chars()
    known = (text.str.len_chars() > 0) & ~text.is_in(list(unknown))
    return table.select(columns).with_columns(pl.when(known).then(text))


def number(
    value: str | None, path: Path, row: int, column: str, unknown: Sequence[str] = ()
) -> float | None:
    """Return a cell as a number; None where it is empty or one of `unknown`.

    Raises DataError for any other text.
    """
    if value is None or value in unknown:
        return None
    try:
        return float(value)
    except ValueError as error:
        raise DataError(
            f"{path}: row {row}: column {column} is not a number; correct or empty it"
        ) from error


def numbers(cells: pl.Series, path: Path, *, needed: bool = False) -> pl.Series:
    """Return a column of text as numbers, null where it is empty or infinite.

    Raises DataError for the first cell that is no number, and for the first empty one where all
    are `needed`.
    """
    found = cells.cast(pl.Float64, strict=False)
    if (wrong := found.is_null() & cells.is_not_null()).any():
        row = wrong.arg_true()[0]
        raise DataError(
            f"{path}: row {row}: column {cells.name} is not a number; correct or empty it"
        )

    found = pl.select(pl.when(found.is_finite()).then(found)).to_series().alias(cells.name)
    if needed:
        _check_filled(found, path)
    return found


def only(cells: pl.Series, known: Sequence[str], path: Path, *, needed: bool = False) -> pl.Series:
    """Return a column as it is, if each cell is one of `known`.

    Raises DataError for the first other cell, and for the first empty one where all are `needed`.
    """
    if (wrong := ~cells.is_in(list(known)).fill_null(True)).any():
        row = wrong.arg_true()[0]
        raise DataError(
            f"{path}: row {row}: column {cells.name} holds no value of the data set; correct it"
        )
    if needed:
        _check_filled(cells, path)
    return cells


def _check_filled(cells: pl.Series, path: Path) -> None:
    if cells.null_count():
        row = cells.is_null().arg_true()[0]
        raise DataError(
            f"{path}: row {row}: column {cells.name} is empty; fill it, or drop the row"
        )
