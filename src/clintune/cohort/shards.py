"""The Parquet files of a MEDS cohort: found, checked, and read with one schema."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl
from meds.schema import (
    DataSchema,
    DatasetMetadataSchema,
    data_subdirectory,
    dataset_metadata_filepath,
)

from clintune.cohort.column_names import near_name
from clintune.core.errors import DataError
from clintune.core.files import tables_below
from clintune.core.text import visible

SUBJECT = DataSchema.subject_id_name
TIME = DataSchema.time_name
CODE = DataSchema.code_name
NUMBER = DataSchema.numeric_value_name
TEXT = DataSchema.text_value_name
MEDIA_KEY = DatasetMetadataSchema.additional_value_modality_columns_name
ROW = "__row__"
NAN = "__nan__"
"""The column that says whether a value was NaN in the file."""
MOMENT = pl.Datetime("us")

UNREADABLE = (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError)
"""The errors of polars for a damaged file; a panic is no `Exception`."""

_WHOLE = (pl.Int64, pl.Int32, pl.Int16, pl.Int8, pl.UInt32, pl.UInt16, pl.UInt8)
_STRING = (pl.String, pl.Categorical, pl.Enum, pl.Null)
# Column -> (accepted types, type in clintune, name in MEDS).
# No Date is accepted: an event of that day would count as one at its midnight.
_TYPES: dict[str, tuple[tuple[type[pl.DataType], ...], pl.DataType, str]] = {
    SUBJECT: (_WHOLE, pl.Int64(), "int64"),
    TIME: ((pl.Datetime, pl.Null), MOMENT, "timestamp[us]"),
    CODE: (_STRING, pl.String(), "string"),
    NUMBER: ((pl.Float32, pl.Float64, pl.Null, *_WHOLE), pl.Float32(), "float32"),
    TEXT: (_STRING, pl.String(), "large_string"),
}
_REQUIRED = (SUBJECT, TIME, CODE)


def data_files(root: Path) -> list[Path]:
    """Return the cohort's data files, sorted by path."""
    return tables_below(root / data_subdirectory)


def find_shards(root: Path) -> list[Path]:
    """Return the cohort's data files, sorted by path; DataError where there is none."""
    shards = data_files(root)
    if not shards:
        raise DataError(
            f"{root / data_subdirectory}: holds no Parquet file; "
            "write the cohort's MEDS tables there"
        )
    return shards


def media_columns(root: Path) -> list[str]:
    """Return the media columns that `metadata/dataset.json` declares; none without that file.

    Raises DataError where the file cannot be read.
    """
    path = root / dataset_metadata_filepath
    try:
        metadata = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        names = metadata.get(MEDIA_KEY) or []
    except (ValueError, AttributeError, RecursionError) as error:
        raise DataError(f"{path}: not a JSON object; write it again") from error
    if not isinstance(names, list):
        raise DataError(f"{path}: {MEDIA_KEY} is no list of columns; write it as one")
    return [str(name) for name in names]


def scan_shard(path: Path, where: str, media: list[str]) -> pl.LazyFrame:
    """Return the rows of a shard lazily, as `typed` does; `where` names the shard in errors."""
    with readable(where):
        scan = pl.scan_parquet(path, glob=False, hive_partitioning=False, row_index_name=ROW)
        return typed(scan, where, media)


def typed(scan: pl.LazyFrame, where: str, media: list[str]) -> pl.LazyFrame:
    """Return numbered rows with the columns of MEDS, media columns, their number, and the others.

    `media` are the declared media columns; rows may lack some. Times with a zone become UTC, and
    those in nanoseconds are rounded up to the microsecond. Optional columns that are absent become
    null. NaN values become null, which column `NAN` marks. Raises DataError for a column that is
    missing, that is absent while another has nearly its name, or that has a type which cannot stand
    for that of MEDS; `where` names the rows in errors.
    """
    schema = scan.collect_schema()
    _check_names(list(schema), where, media)
    columns: list[pl.Expr] = []

    # The columns of MEDS.
    for name, (accepted, target, meds_type) in _TYPES.items():
        if name not in schema:
            columns.append(pl.lit(None, target).alias(name))
        elif not isinstance(schema[name], accepted):
            raise DataError(
                f"{where}: column {name} is {schema[name]}; MEDS wants {meds_type}: cast it"
            )
        elif isinstance(kind := schema[name], pl.Datetime) and kind.time_unit == "ns":
            columns.append(_rounded_up(pl.col(name)).alias(name))
        else:
            columns.append(pl.col(name).cast(target))

    for name in media:
        if name in schema:
            if not isinstance(schema[name], _STRING):
                raise DataError(
                    f"{where}: media column {name} is {schema[name]}; it holds relative paths: "
                    "cast it"
                )
            columns.append(pl.col(name).cast(pl.String))

    # All other columns stay as they are: a modality may read them.
    typed_names = {*_TYPES, *media, ROW}
    others = [pl.col(name) for name in schema if name not in typed_names]
    is_nan = pl.col(NUMBER).is_nan().alias(NAN)
    return scan.select(ROW, *columns, *others).with_columns(pl.col(NUMBER).fill_nan(None), is_nan)


def _check_names(columns: list[str], where: str, media: list[str]) -> None:
    """Raise DataError for a required column that is missing, and for one that is misnamed.

    A column is misnamed where its name is near to that of an absent column: nobody would read it.
    """
    known = (*_TYPES, *media)
    others = [name for name in columns if name not in (*known, ROW)]
    for name in (name for name in known if name not in columns):
        near = near_name(name, others)
        if name in _REQUIRED:
            hint = "" if near is None else f"; is it '{visible(near)}'? Rename that"
            wanted = ", ".join(_REQUIRED)
            raise DataError(f"{where}: lacks column {name}; a MEDS table has {wanted}{hint}")
        if near is not None:
            raise DataError(
                f"{where}: column '{visible(near)}' is not read; did you mean {name}? Rename it; "
                f"if it is something else, add a column {name} of nulls"
            )


def _rounded_up(nanoseconds: pl.Expr) -> pl.Expr:
    """Return times in microseconds that are never earlier than they were.

    So what comes after a prediction time stays after it.
    """
    return ((nanoseconds.to_physical() - 1) // 1000 + 1).cast(MOMENT)


def has_zone(path: Path, where: str) -> bool | None:
    """Return whether the times of a shard have a time zone; None where it has no times."""
    with readable(where):
        kind = pl.scan_parquet(path, glob=False, hive_partitioning=False).collect_schema().get(TIME)
    return kind.time_zone is not None if isinstance(kind, pl.Datetime) else None


def clock_of(root: Path) -> tuple[str, bool] | None:
    """Return the first shard with times, whether they have a zone; None without such a shard."""
    for path in data_files(root):
        where = path.relative_to(root).as_posix()
        if (zoned := has_zone(path, where)) is not None:
            return where, zoned
    return None


def check_clock(where: str, column: str, zoned: bool, clock: tuple[str, bool] | None) -> None:
    """Raise DataError where the times of a file do not fit those of the cohort's `clock`.

    Both have a time zone, or neither. Times without a zone are of one local clock, and nobody knows
    how far it is from UTC.
    """
    if clock is None or clock[1] == zoned:
        return
    mine, others = ("a time zone", "none") if zoned else ("no time zone", "one")
    raise DataError(
        f"{where}: column {column} has {mine}, while column {TIME} of {clock[0]} has {others}; "
        "write all times of a cohort with a time zone, or all of one local clock without"
    )


def read_subjects(scan: pl.LazyFrame, where: str) -> pl.Series:
    """Return the distinct subjects of a shard, sorted.

    Raises DataError where a subject is null, or a code is null or empty.
    """
    with readable(where):
        blank = pl.col(CODE).is_null() | (pl.col(CODE).str.strip_chars() == "")
        bad = scan.filter(pl.col(SUBJECT).is_null() | blank)
        null = bad.select(ROW, SUBJECT, CODE).head(1).collect()
        if len(null):
            column = SUBJECT if null[SUBJECT][0] is None else CODE
            what = "null" if null[column][0] is None else "empty text"
            raise DataError(
                f"{where}: row {null[ROW][0]}: column {column} is {what}; "
                "give it a value or drop the row"
            )

        return _distinct(scan, SUBJECT)


def read_codes(scan: pl.LazyFrame, where: str) -> pl.Series:
    """Return the distinct codes of a shard, sorted."""
    with readable(where):
        return _distinct(scan, CODE)


def count_subjects(scan: pl.LazyFrame, where: str) -> dict[str, int]:
    """Return how many subjects of a shard have each code."""
    with readable(where):
        found = scan.group_by(CODE).agg(pl.col(SUBJECT).n_unique()).collect(engine="streaming")
    return dict(found.iter_rows())


def _distinct(scan: pl.LazyFrame, column: str) -> pl.Series:
    return scan.select(pl.col(column).unique().sort()).collect(engine="streaming").to_series()


def check_paths(paths: pl.DataFrame, column: str, where: str) -> None:
    """Raise DataError where a media path is empty, absolute, or leads out of the cohort's folder.

    `paths` has columns path and the row number; `column` is the name of the path in the shard.
    """
    path = pl.col("path")
    empty = paths.filter(path.str.strip_chars() == "")
    if len(empty):
        row = empty[ROW].sort()[0]
        raise DataError(
            f"{where}: row {row}: column {column} is empty text; write null where there is no file"
        )

    outside = paths.filter(path.str.starts_with("/") | path.str.split("/").list.contains(".."))
    if len(outside):
        row = outside[ROW].sort()[0]
        raise DataError(
            f"{where}: row {row}: column {column} leaves the cohort's folder; "
            "make the path relative to it"
        )


@contextmanager
def readable(where: str) -> Iterator[None]:
    """Turn the error of polars for a damaged file into a DataError that names the file."""
    try:
        yield
    except UNREADABLE as error:
        raise DataError(
            f"{where}: not a readable Parquet file ({type(error).__name__}); write it again"
        ) from error
