"""The Parquet files of a MEDS cohort: found, checked, and read with one schema."""

import json
from collections.abc import Iterator, Sequence
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
from clintune.cohort.listing import tables_below
from clintune.core.errors import DataError
from clintune.core.problems import Problem, raise_first
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
        raise DataError(str(no_shard(root)))
    return shards


def no_shard(root: Path) -> Problem:
    """Return the problem of a cohort without data files."""
    data = root / data_subdirectory
    return Problem(str(data), "holds no Parquet file", "write the cohort's MEDS tables there")


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
    null. NaN values become null, which column `NAN` marks. Raises DataError as `schema_problems`
    has them; `where` names the rows in errors.
    """
    schema = scan.collect_schema()
    raise_first(schema_problems(schema, where, media))
    columns: list[pl.Expr] = []

    # The columns of MEDS.
    for name, (_, target, _) in _TYPES.items():
        if name not in schema:
            columns.append(pl.lit(None, target).alias(name))
        elif isinstance(kind := schema[name], pl.Datetime) and kind.time_unit == "ns":
            columns.append(_rounded_up(pl.col(name)).alias(name))
        else:
            columns.append(pl.col(name).cast(target))
    columns += [pl.col(name).cast(pl.String) for name in media if name in schema]

    # All other columns stay as they are: a modality may read them.
    typed_names = {*_TYPES, *media, ROW}
    others = [pl.col(name) for name in schema if name not in typed_names]
    is_nan = pl.col(NUMBER).is_nan().alias(NAN)
    return scan.select(ROW, *columns, *others).with_columns(pl.col(NUMBER).fill_nan(None), is_nan)


def schema_problems(schema: pl.Schema, where: str, media: Sequence[str]) -> Iterator[Problem]:
    """Yield each column that is missing or misnamed, or whose type cannot stand for that of MEDS.

    `media` are the declared media columns; `where` names the rows.
    """
    yield from _name_problems(list(schema), where, media)
    for name, (accepted, _, meds_type) in _TYPES.items():
        if name in schema and not isinstance(schema[name], accepted):
            remedy = f"MEDS wants {meds_type}: cast it"
            yield Problem(where, f"column {name} is {schema[name]}", remedy)

    for name in media:
        if name in schema and not isinstance(schema[name], _STRING):
            what = f"media column {name} is {schema[name]}"
            yield Problem(where, what, "it holds relative paths: cast it")


def _name_problems(columns: list[str], where: str, media: Sequence[str]) -> Iterator[Problem]:
    """Yield each required column that is missing, and each column that is misnamed.

    A column is misnamed where its name is near to that of an absent column: nobody would read it.
    """
    known = (*_TYPES, *media)
    others = [name for name in columns if name not in (*known, ROW)]

    for name in (name for name in known if name not in columns):
        near = near_name(name, others)
        if name in _REQUIRED:
            hint = "" if near is None else f"; is it '{visible(near)}'? Rename that"
            remedy = f"a MEDS table has {', '.join(_REQUIRED)}{hint}"
            yield Problem(where, f"lacks column {name}", remedy)
        elif near is not None:
            yield Problem(
                where,
                f"column '{visible(near)}' is not read",
                f"did you mean {name}? Rename it; "
                f"if it is something else, add a column {name} of nulls",
            )


def _rounded_up(nanoseconds: pl.Expr) -> pl.Expr:
    """Return times in microseconds that are never earlier than they were.

    So what comes after a prediction time stays after it.
    """
    return ((nanoseconds.to_physical() - 1) // 1000 + 1).cast(MOMENT)


def read_subjects(scan: pl.LazyFrame, where: str) -> pl.Series:
    """Return the distinct subjects of a shard, sorted; DataError as `row_problems` has them."""
    raise_first(row_problems(scan, where))
    with readable(where):
        return _distinct(scan, SUBJECT)


def row_problems(scan: pl.LazyFrame, where: str) -> Iterator[Problem]:
    """Yield the first row whose subject is null, whose code is null, and whose code is empty."""
    faults = {
        (SUBJECT, "null"): pl.col(SUBJECT).is_null(),
        (CODE, "null"): pl.col(CODE).is_null(),
        (CODE, "empty text"): pl.col(CODE).str.strip_chars() == "",
    }
    row = pl.col(ROW)
    firsts = [row.filter(fault).min().alias("/".join(key)) for key, fault in faults.items()]
    with readable(where):
        found = scan.select(firsts).collect(engine="streaming").row(0)

    rows = [(first, *key) for first, key in zip(found, faults, strict=True) if first is not None]
    for first, column, what in sorted(rows, key=lambda fault: fault[0]):
        remedy = "give it a value or drop the row"
        yield Problem(f"{where}: row {first}", f"column {column} is {what}", remedy)


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


def path_problems(paths: pl.DataFrame, column: str, where: str) -> Iterator[Problem]:
    """Yield the first media path that is empty, and the first that leads out of the cohort.

    `paths` has columns path and the row number; `column` is the name of the path in the shard.
    """
    path = pl.col("path")
    empty = paths.filter(path.str.strip_chars() == "")
    if len(empty):
        row, what = empty[ROW].sort()[0], f"column {column} is empty text"
        yield Problem(f"{where}: row {row}", what, "write null where there is no file")

    outside = paths.filter(path.str.starts_with("/") | path.str.split("/").list.contains(".."))
    if len(outside):
        row, what = outside[ROW].sort()[0], f"column {column} leaves the cohort's folder"
        yield Problem(f"{where}: row {row}", what, "make the path relative to it")


@contextmanager
def readable(where: str) -> Iterator[None]:
    """Turn the error of polars for a damaged file into a DataError that names the file."""
    try:
        yield
    except UNREADABLE as error:
        raise DataError(
            f"{where}: not a readable Parquet file ({type(error).__name__}); write it again"
        ) from error
