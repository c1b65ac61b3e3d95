"""Read the raw tables of a data set, and say in one line what is wrong with them."""

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from clintune.core.errors import DataError


def read_raw(path: Path, columns: Sequence[str], home: str) -> pl.DataFrame:
    """Read columns of a CSV file as text without outer blanks, null where empty.

    Bytes that are not UTF-8 are replaced. Raises DataError for a file that is missing or damaged or lacks a column; it
    says where the data set is at `home`.
    """
    if not path.is_file():
        raise DataError(f"{path}: is missing; download the data set from {home}, or correct `raw`")
    try:
        table = pl.read_csv(path, infer_schema=False, encoding="utf8-lossy", truncate_ragged_lines=True)
    except pl.exceptions.PolarsError as error:
        raise DataError(
            f"{path}: not a readable CSV file ({type(error).__name__}); download it again from {home}"
        ) from error
    missing = [name for name in columns if name not in table.columns]
    if missing:
        raise DataError(f"{path}: lacks column {missing[0]}; download the data set again from {home}")
    text = pl.all().str.strip_chars()
    return table.select(columns).with_columns(pl.when(text.str.len_chars() > 0).then(text))


def number(value: str | None, path: Path, row: int, column: str, unknown: Sequence[str] = ()) -> float | None:
    """Return a cell as a number, None where it is empty or one of `unknown`; raises DataError for anything else."""
    if value is None or value in unknown:
        return None
    try:
        return float(value)
    except ValueError as error:
        raise DataError(f"{path}: row {row}: column {column} is not a number; correct or empty it") from error
