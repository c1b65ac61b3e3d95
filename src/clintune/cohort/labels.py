"""The label files of a cohort: found, read with one schema, checked against the cohort's clock."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path

import polars as pl
from meds.schema import DataSchema, LabelSchema

from clintune.cohort.clock import Clock, clock_of, clock_problems
from clintune.cohort.listing import Listing, list_tables
from clintune.cohort.shards import UNREADABLE
from clintune.config.suggest import nearest
from clintune.core.errors import ConfigError, DataError
from clintune.core.paths import name_problem
from clintune.core.problems import Problem, raise_first
from clintune.core.text import visible

SAMPLE = [DataSchema.subject_id_name, LabelSchema.prediction_time_name]
FOLDERS = ("labels", "task_labels")
"""Where labels may stand in a cohort: clintune's own folder, and that of the standard's tools."""
_FLOAT, _INTEGER = LabelSchema.float_value_name, LabelSchema.integer_value_name
_KEYS = ("int64", "timestamp[us]")
_UNKNOWN = "write null for an unknown label"
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

    A label may hold slashes, as `mortality/icu`. Raises ConfigError as `name_problems` has them.
    """
    raise_first(name_problems("label", label), ConfigError)
    folders = [root / name / label for name in FOLDERS]
    return [(folder.with_name(f"{folder.name}.parquet"), folder) for folder in folders]


def name_problems(where: str, label: str) -> Iterator[Problem]:
    """Yield what is wrong with a label as a name; `where` is the key that gives it."""
    if label.endswith(".parquet"):
        yield Problem(where, f"'{visible(label)}' ends in .parquet", "name it without")
    elif (what := name_problem(label, nested=True)) is not None:
        yield Problem(where, what, "use another name")


def list_label(root: Path, label: str) -> Listing:
    """Return the files of a label: `labels/<label>.parquet`, or those below `labels/<label>/`.

    `task_labels/` serves as `labels/` does. There are none where no place has the label. Problems
    are those of `list_tables`, and each further place that has it: nobody knows which one is meant.
    """
    found: list[list[Path]] = []
    problems: list[Problem] = []
    for file, folder in label_paths(root, label):
        files, hidden = list_tables(folder)
        found += [place for place in ([file] if file.is_file() else [], files) if place]
        problems += hidden

    for place in found[1:]:
        first, other = found[0][0].relative_to(root), place[0].relative_to(root)
        what = f"label {label} stands in {first} and in {other}"
        problems.append(Problem(str(root), what, "keep one of them"))
    return Listing(found[0] if found else [], problems)


def label_files(root: Path, label: str) -> list[Path]:
    """Return the files of `list_label`; DataError for a problem."""
    files, problems = list_label(root, label)
    raise_first(problems)
    return files


def looked_for(root: Path, label: str) -> str:
    """Return the places in which a label was looked for, relative to the cohort's root."""
    named = [
        f"{file.relative_to(root)}, {folder.relative_to(root)}/*.parquet"
        for file, folder in label_paths(root, label)
    ]
    return ", ".join(named)


def unknown_label(where: str, label: str, roots: Iterable[Path]) -> Problem:
    """Return the problem of a label that no cohort has; the remedy is the nearest that is there."""
    roots = list(roots)
    places = " and ".join(f"{looked_for(root, label)} in {root}" for root in roots)
    known = [name for root in roots for name in _known_labels(root)]
    remedy = nearest(label, known).removeprefix("; ") or "write its file there, or correct its name"
    return Problem(where, f"no cohort has the label '{label}' (looked for {places})", remedy)


def _known_labels(root: Path) -> Iterator[str]:
    """Yield the labels that a cohort has, as a recipe names them."""
    for folder in FOLDERS:
        for path in list_tables(root / folder).files:
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
    raise_first(shared_problems(table, files))
    return table


def shared_problems(table: pl.DataFrame, files: Sequence[Path]) -> Iterator[Problem]:
    """Yield a problem where two of the files of a label, of which each is whole, hold one sample.

    `table` has the rows of all files.
    """
    if len(files) > 1 and table.select(SAMPLE).is_duplicated().any():
        what = "two files label the same subject and prediction time"
        yield Problem(str(files[0].parent), what, "keep one")


def label_values(
    table: pl.DataFrame, path: Path, columns: Mapping[str, type[pl.DataType]]
) -> pl.DataFrame:
    """Keep the key columns and the value columns of a label file.

    Where `float_value` is missing, or null throughout, `integer_value` stands in for it. Raises
    DataError as `value_problems` has them.
    """
    if _FLOAT in columns and _INTEGER in table.columns:
        is_absent = _FLOAT not in table.columns or table[_FLOAT].null_count() == len(table)
        table = table.with_columns(pl.col(_INTEGER).alias(_FLOAT)) if is_absent else table

    raise_first(value_problems(table, path, columns))
    return table.select(*SAMPLE, *(pl.col(column).cast(kind) for column, kind in columns.items()))


def value_problems(
    table: pl.DataFrame, path: Path, columns: Mapping[str, type[pl.DataType]]
) -> Iterator[Problem]:
    """Yield each value column that is missing, of another type, or has empty text in a row."""
    for column, kind in columns.items():
        if column not in table.columns:
            what = f"lacks column {column}, which holds the labels of this kind of task"
            yield Problem(str(path), what, "add it")
            continue

        accepted = _ACCEPTED.get(kind, (kind,))
        if not isinstance(table.schema[column], (*accepted, pl.Null)):
            what = f"column {column} is {table.schema[column]}"
            yield Problem(str(path), what, f"write it as {kind.__name__}")
        elif kind is pl.String:
            # An unknown text is null, never empty.
            empty = table[column].cast(pl.String).str.strip_chars() == ""
            yield from _first_row(path, empty, column, "empty text", _UNKNOWN)


def read_label_files(root: Path, paths: Sequence[Path]) -> list[pl.DataFrame]:
    """Read MEDS label files, or tables of prediction times, of the cohort at `root`.

    Times with a zone become UTC. Raises DataError where a file cannot be read, and as
    `key_problems` has them.
    """
    clock = clock_of(root)
    return [_read(path, clock) for path in paths]


def _read(path: Path, clock: Clock) -> pl.DataFrame:
    try:
        table = pl.read_parquet(path, glob=False, hive_partitioning=False)
    except UNREADABLE as error:
        raise DataError(
            f"{path}: not a readable Parquet file ({type(error).__name__}); write it again"
        ) from error
    return checked_keys(table, str(path), clock)


def checked_keys(table: pl.DataFrame, path: str, clock: Clock) -> pl.DataFrame:
    """Return a table with its subjects and prediction times checked, times in UTC.

    `path` names the table in errors. Raises DataError as `key_problems` has them.
    """
    raise_first(key_problems(table, path, clock))
    return _with_plain_keys(table)


def key_problems(table: pl.DataFrame, path: str, clock: Clock) -> Iterator[Problem]:
    """Yield what is wrong with the subjects and prediction times of a table.

    A column may be missing, of another type, or null. Times may be of another clock than `clock`,
    that of the events, or of no possible year. A pair may stand twice, or be too large.
    """
    missing = [name for name in SAMPLE if name not in table.columns]
    for name in missing:
        remedy = f"a MEDS label file has {', '.join(SAMPLE)} and a value"
        yield Problem(path, f"lacks column {name}", remedy)
    if missing:
        return

    # A date is not accepted as a moment: it would count as its midnight.
    moment = table.schema[SAMPLE[1]]
    fits = (table.schema[SAMPLE[0]].is_integer(), isinstance(moment, pl.Datetime))
    for name, is_right, wanted in zip(SAMPLE, fits, _KEYS, strict=True):
        if not is_right:
            what = f"column {name} is {table.schema[name]}"
            yield Problem(path, what, f"MEDS wants {wanted}: cast it")
        null = table[name].is_null()
        yield from _first_row(path, null, name, "null", "give it a value or drop the row")
    if not isinstance(moment, pl.Datetime) or not all(fits):
        return

    yield from clock_problems(path, SAMPLE[1], moment.time_zone is not None, clock)
    yield from _pair_problems(table, path)


def _pair_problems(table: pl.DataFrame, path: str) -> Iterator[Problem]:
    """Yield what is wrong with pairs of subject and time whose types are right."""
    try:
        pairs = _with_plain_keys(table).select(SAMPLE)
    except UNREADABLE:
        what = f"has a subject or time too large for {' and '.join(_KEYS)}"
        yield Problem(path, what, "correct it")
        return

    outside = ~pairs[SAMPLE[1]].is_between(_FIRST, _LAST)
    yield from _first_row(path, outside, SAMPLE[1], "beyond the years 1 to 9999", "correct it")

    # A pair stands once in a file.
    is_whole = pairs[SAMPLE[0]].is_not_null() & pairs[SAMPLE[1]].is_not_null()
    doubled = (pairs.is_duplicated() & is_whole).arg_true()
    if len(doubled):
        what = f"row {doubled[0]} labels a subject and prediction time twice"
        yield Problem(path, what, "keep one")


def _first_row(
    path: str | Path, bad: pl.Series, column: str, what: str, remedy: str
) -> Iterator[Problem]:
    """Yield a problem of the first row that is `bad`, if any is."""
    rows = bad.arg_true()
    if len(rows):
        yield Problem(f"{path}: row {rows[0]}", f"column {column} is {what}", remedy)


def _with_plain_keys(table: pl.DataFrame) -> pl.DataFrame:
    """Return a table with its subjects as int64, and its times in microseconds."""
    return table.with_columns(
        pl.col(SAMPLE[0]).cast(pl.Int64), pl.col(SAMPLE[1]).cast(pl.Datetime("us"))
    )
