"""The label files of a cohort: found, read with one schema, checked against the cohort's clock."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path

import polars as pl
from meds.schema import DataSchema, LabelSchema

from clintune.cohort.shards import UNREADABLE, check_clock, clock_of
from clintune.config.suggest import nearest
from clintune.core.errors import ConfigError, DataError
from clintune.core.files import files_below, tables_below
from clintune.core.paths import inside

SAMPLE = [DataSchema.subject_id_name, LabelSchema.prediction_time_name]
FOLDERS = ("labels", "task_labels")
"""Where labels may stand in a cohort: clintune's own folder, and that of the standard's tools."""
_FLOAT, _INTEGER = LabelSchema.float_value_name, LabelSchema.integer_value_name
_KEYS = ("int64", "timestamp[us]")
# Of the cohort's own clock.
_FIRST, _LAST = datetime(1, 1, 1), datetime(9999, 12, 31)  # noqa: DTZ001
_WHOLE = (pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.UInt8, pl.UInt16, pl.UInt32)
_ACCEPTED: Mapping[type[pl.DataType], tuple[type[pl.DataType], ...]] = {
    pl.String: (pl.String, pl.Categorical, pl.Enum),
    pl.Float32: (pl.Float32, pl.Float64, *_WHOLE),
    pl.Int64: _WHOLE,
}
"""Types that a value column may have, beside that of the schema."""


def label_paths(root: Path, label: str) -> list[tuple[Path, Path]]:
    """Return the places of a label: pairs of `labels/<label>.parquet` and `labels/<label>/`.

    A label may hold slashes, as `mortality/icu`. Raises ConfigError for one that leaves the cohort.
    """
    if label.endswith(".parquet"):
        raise ConfigError(f"label '{label}': name it without .parquet")
    folders = [inside(root / name, label, "label") for name in FOLDERS]
    return [(folder.with_name(f"{folder.name}.parquet"), folder) for folder in folders]


def label_files(root: Path, label: str) -> list[Path]:
    """Return the files of a label: `labels/<label>.parquet`, or those below `labels/<label>/`.

    `task_labels/` serves as `labels/` does. There are none where no place has the label. Raises
    DataError where several have it: nobody knows which one is meant.
    """
    found: list[list[Path]] = []
    for file, folder in label_paths(root, label):
        places = ([file] if file.is_file() else [], tables_below(folder))
        found += [files for files in places if files]
    if len(found) > 1:
        first, second = (files[0].relative_to(root) for files in found[:2])
        raise DataError(
            f"{root}: label {label} stands in {first} and in {second}; keep one of them"
        )
    return found[0] if found else []


def looked_for(root: Path, label: str) -> str:
    """Return the places in which a label was looked for, relative to the cohort's root."""
    named = [
        f"{file.relative_to(root)}, {folder.relative_to(root)}/*.parquet"
        for file, folder in label_paths(root, label)
    ]
    return ", ".join(named)


def label_not_found(label: str, roots: Iterable[Path]) -> str:
    """Return that no cohort has a label, where it was looked for, and the nearest that is there."""
    roots = list(roots)
    places = " and ".join(f"{looked_for(root, label)} in {root}" for root in roots)
    known = [name for root in roots for name in _known_labels(root)]
    return f"no cohort has the label '{label}' (looked for {places}){nearest(label, known)}"


def _known_labels(root: Path) -> Iterator[str]:
    """Yield the labels that a cohort has, as a recipe names them."""
    for folder in FOLDERS:
        for path in files_below(root / folder, ".parquet"):
            yield path.relative_to(root / folder).with_suffix("").as_posix()


def read_labels(
    root: Path, label: str, columns: Mapping[str, type[pl.DataType]]
) -> pl.DataFrame | None:
    """Read a label that is one file or a folder of shards.

    Returns subject_id, prediction_time and the value columns by type, or None where the cohort has
    no such label. Raises DataError as `read_label_files` and `label_values` do.
    """
    files = label_files(root, label)
    if not files:
        return None

    pairs = zip(read_label_files(root, files), files, strict=True)
    table = pl.concat([label_values(table, file, columns) for table, file in pairs])
    if len(files) > 1 and table.select(SAMPLE).is_duplicated().any():
        raise DataError(
            f"{files[0].parent}: two files label the same subject and prediction time; keep one"
        )
    return table


def label_values(
    table: pl.DataFrame, path: Path, columns: Mapping[str, type[pl.DataType]]
) -> pl.DataFrame:
    """Keep the key columns and the value columns of a label file.

    Where `float_value` is missing, or null throughout, `integer_value` stands in for it. Raises
    DataError where a value column is missing or has another type than the MEDS label schema gives
    it, and where a text is empty: an unknown label is null.
    """
    if _FLOAT in columns and _INTEGER in table.columns:
        is_absent = _FLOAT not in table.columns or table[_FLOAT].null_count() == len(table)
        table = table.with_columns(pl.col(_INTEGER).alias(_FLOAT)) if is_absent else table

    for column, kind in columns.items():
        if column not in table.columns:
            raise DataError(
                f"{path}: lacks column {column}, which holds the labels of this kind of task; "
                "add it"
            )
        accepted = _ACCEPTED.get(kind, (kind,))
        if not isinstance(table.schema[column], (*accepted, pl.Null)):
            raise DataError(
                f"{path}: column {column} is {table.schema[column]}; write it as {kind.__name__}"
            )

    values = table.select(*SAMPLE, *(pl.col(column).cast(kind) for column, kind in columns.items()))

    # An unknown text is null, never empty.
    for column in [column for column, kind in columns.items() if kind is pl.String]:
        if (empty := values[column].str.strip_chars() == "").any():
            row = empty.arg_true()[0]
            raise DataError(
                f"{path}: row {row}: column {column} is empty text; write null for an unknown label"
            )
    return values


def read_label_files(root: Path, paths: Sequence[Path]) -> list[pl.DataFrame]:
    """Read MEDS label files, or tables of prediction times, of the cohort at `root`.

    Times with a zone become UTC. Raises DataError where a file cannot be read, lacks a key column,
    has one of another type or with a null, or labels one (subject, time) twice. It also raises one
    where times have a zone and those of the cohort's events have none, or the other way round.
    """
    clock = clock_of(root)
    return [_read(path, clock) for path in paths]


def _read(path: Path, clock: tuple[str, bool] | None) -> pl.DataFrame:
    try:
        table = pl.read_parquet(path, glob=False, hive_partitioning=False)
    except UNREADABLE as error:
        raise DataError(
            f"{path}: not a readable Parquet file ({type(error).__name__}); write it again"
        ) from error
    return checked_keys(table, str(path), clock)


def checked_keys(table: pl.DataFrame, path: str, clock: tuple[str, bool] | None) -> pl.DataFrame:
    """Return a table with its subjects and prediction times checked as `read_label_files` does.

    Times become UTC. `path` names the table in errors. `clock` is what `cohort.shards.clock_of`
    says of the events.
    """
    moment = _check_key_columns(table, path)
    check_clock(path, SAMPLE[1], moment.time_zone is not None, clock)
    try:
        subject, time = pl.col(SAMPLE[0]), pl.col(SAMPLE[1])
        table = table.with_columns(subject.cast(pl.Int64), time.cast(pl.Datetime("us")))
    except UNREADABLE as error:
        raise DataError(
            f"{path}: has a subject or time too large for {' and '.join(_KEYS)}; correct it"
        ) from error

    outside = ~table[SAMPLE[1]].is_between(_FIRST, _LAST)
    if outside.any():
        raise DataError(
            f"{path}: row {outside.arg_true()[0]}: column {SAMPLE[1]} is beyond the years "
            "1 to 9999; correct it"
        )

    # A pair stands once in a file.
    doubled = table.select(SAMPLE).is_duplicated()
    if doubled.any():
        raise DataError(
            f"{path}: row {doubled.arg_true()[0]} labels a subject and prediction time twice; "
            "keep one"
        )
    return table


def _check_key_columns(table: pl.DataFrame, path: str) -> pl.Datetime:
    """Return the type of the prediction times; DataError for missing, mistyped or null keys."""
    missing = [name for name in SAMPLE if name not in table.columns]
    if missing:
        raise DataError(
            f"{path}: lacks column {missing[0]}; a MEDS label file has {', '.join(SAMPLE)} "
            "and a value"
        )

    # A date is not accepted as a moment: it would count as its midnight.
    moment = table.schema[SAMPLE[1]]
    fits = (table.schema[SAMPLE[0]].is_integer(), isinstance(moment, pl.Datetime))
    for name, is_right, wanted in zip(SAMPLE, fits, _KEYS, strict=True):
        if not is_right:
            raise DataError(
                f"{path}: column {name} is {table.schema[name]}; MEDS wants {wanted}: cast it"
            )
        if (null := table[name].is_null()).any():
            raise DataError(
                f"{path}: row {null.arg_true()[0]}: column {name} is null; "
                "give it a value or drop the row"
            )

    assert isinstance(moment, pl.Datetime)
    return moment
