"""Samples from rows and prediction times in memory, in any kind of table."""

import sys
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from clintune.cohort.in_memory import InMemory
from clintune.cohort.index import row_selections
from clintune.cohort.labels import SAMPLE, checked_keys
from clintune.cohort.shards import CODE, ROW, SUBJECT, TIME, read_subjects, typed
from clintune.core.errors import ConfigError, DataError
from clintune.core.problems import Problem, raise_first
from clintune.core.text import first_few, visible
from clintune.inference.times import last_events
from clintune.modalities.readers import Reader

EVENTS, AT = "events", "at"
"""Names of the two tables in errors."""
_CLOCKS = "give both with a time zone, or both of one local clock without"


class Held(NamedTuple):
    """Rows in memory as a source of samples, the samples in the order of `at`, and the rows."""

    source: InMemory
    samples: pl.DataFrame
    events: pl.LazyFrame


def hold_events(
    events: Any, at: Any, readers: Mapping[str, Reader], root: Path, lookback_hours: float | None
) -> Held:
    """Hold rows in memory as a source of samples.

    Raises ConfigError for a value that is no table. Raises DataError for a table that breaks the
    contract of the data, for times of another clock, for subjects without a row, and where the
    model reads no row.
    """
    # Read the rows.
    table = to_polars(events, EVENTS)
    selections = row_selections(readers)
    named = [selection.media for selection in selections.values() if selection.media is not None]
    media = [name for name in named if name in table.columns]

    table, contents = _take_bytes(table, readers)
    scan = typed(table.lazy().with_row_index(ROW), EVENTS, named)
    if table.is_empty():
        raise DataError(f"{EVENTS}: have no row; give the rows of the subjects to predict for")
    scan = scan.collect().lazy()  # once, for all modalities
    read_subjects(scan, EVENTS)

    # Read the prediction times; their clock must be that of the rows.
    kind = table.schema[TIME]
    clock = (EVENTS, kind.time_zone is not None) if isinstance(kind, pl.Datetime) else None
    samples = _samples(at, table, scan, clock)

    held = InMemory(
        EVENTS,
        scan,
        samples,
        selections,
        root=root,
        has_zone=clock is not None and clock[1],
        media=media,
        lookback_hours=lookback_hours,
        media_anywhere=True,
        contents=contents,
    )
    if not any(len(rows) for rows in held.rows.values()):
        raise DataError(_nothing_to_read(held, readers))
    return Held(held, samples, scan)


def to_polars(table: Any, what: str) -> pl.DataFrame:
    """Return a table of polars, pandas or Arrow as one of polars.

    Raises ConfigError for anything else, and DataError for a column of mixed types.
    """
    if isinstance(table, pl.LazyFrame):
        return table.collect()
    if isinstance(table, pl.DataFrame):
        return table
    try:
        if _is_pandas(table, "DataFrame"):
            return pl.from_pandas(table)
        if hasattr(table, "__arrow_c_stream__"):
            return pl.DataFrame(table)
    except Exception as error:  # Arrow raises several, for columns of mixed types
        problem = f"{_mixed(table)} has values of several types ({type(error).__name__})"
        raise DataError(f"{what}: {problem}; give each column one type") from error
    raise ConfigError(f"{what}: is a {type(table).__name__}; give a DataFrame of polars or pandas")


def _mixed(table: Any) -> str:
    """Return the name of the first column of a table of pandas that polars does not take alone."""
    columns = table.columns if _is_pandas(table, "DataFrame") else ()
    for number, name in enumerate(columns):
        try:
            pl.from_pandas(table.iloc[:, [number]])
        except Exception:  # as in `to_polars`
            return f"column {visible(name)}"
    return "a column"


def _take_bytes(
    table: pl.DataFrame,
    readers: Mapping[str, Reader],
) -> tuple[pl.DataFrame, dict[str, bytes]]:
    """Return the rows with names in place of the bytes of media files, and the bytes by name.

    Raises ConfigError for bytes of a modality that reads only files.
    """
    contents: dict[str, bytes] = {}
    for name, reader in readers.items():
        column = reader.media_column
        if column is None or table.schema.get(column) != pl.Binary:
            continue
        if not reader.takes_bytes:
            remedy = f"{name} reads files alone: give their paths"
            raise ConfigError(f"{EVENTS}: column {column} holds bytes; {remedy}")

        # The name stands for the bytes in errors, and leads to them.
        names: list[str | None] = [None] * len(table)
        for row, data in enumerate(table[column]):
            if data is not None:
                names[row] = f"{column} of row {row}"
                contents[f"{column} of row {row}"] = data
        table = table.with_columns(pl.Series(column, names, dtype=pl.String))
    return table, contents


def _samples(
    at: Any,
    table: pl.DataFrame,
    scan: pl.LazyFrame,
    clock: tuple[str, bool] | None,
) -> pl.DataFrame:
    """Return subject_id and prediction_time of the samples that `at` asks for, in its order."""
    # Without times, predict at the last event.
    if at is None:
        found = last_events(scan)
        if found.is_empty():
            remedy = f"say in `{AT}` when to predict"
            raise DataError(f"{EVENTS}: no row has a time, so none is the last; {remedy}")
        return found

    asked = _asked(at, table)
    raise_first(_asked_problems(asked))
    _check_zone(asked.schema[SAMPLE[1]], clock)
    return checked_keys(asked, AT, clock).select(SAMPLE)


def _asked(at: Any, table: pl.DataFrame) -> pl.DataFrame:
    """Return the table of samples that `at` stands for, unchecked."""
    # One time for all subjects.
    subjects = table.get_column(SUBJECT)
    if isinstance(at, datetime):
        once = pl.DataFrame({SAMPLE[0]: subjects.unique(maintain_order=True)})
        return once.with_columns(pl.lit(at).alias(SAMPLE[1]))

    # A time for each row.
    if isinstance(at, str):
        if at not in table.columns:
            remedy = "give a datetime, a column or a DataFrame"
            raise ConfigError(f"{AT}: '{at}' is no column of {EVENTS}; {remedy}")
        return _pairs(subjects, table.get_column(at))
    if isinstance(at, pl.Series):
        if len(at) != len(table):
            raise ConfigError(
                f"{AT}: has {len(at)} values for {len(table)} rows of {EVENTS}; give one a row, "
                f"or a DataFrame with {' and '.join(SAMPLE)}"
            )
        return _pairs(subjects, at)

    # A time for each subject, or a table of samples.
    if _is_pandas(at, "Series"):
        return to_polars(at.rename(SAMPLE[1]).rename_axis(SAMPLE[0]).reset_index(), AT)
    if isinstance(at, Mapping):
        return pl.DataFrame({SAMPLE[0]: list(at), SAMPLE[1]: list(at.values())}, strict=False)
    return to_polars(at, AT)


def _check_zone(kind: pl.DataType, clock: tuple[str, bool] | None) -> None:
    """Raise DataError where only one of prediction times and rows has a time zone."""
    if clock is None or not isinstance(kind, pl.Datetime):
        return
    zoned = kind.time_zone is not None
    if zoned != clock[1]:
        mine, theirs = ("a time zone", "none") if zoned else ("no time zone", "one")
        raise DataError(f"{AT}: has {mine}, column {TIME} of {EVENTS} has {theirs}; {_CLOCKS}")


def _pairs(subjects: pl.Series, times: pl.Series) -> pl.DataFrame:
    """Return each subject with each of its prediction times, once."""
    table = pl.DataFrame({SAMPLE[0]: subjects, SAMPLE[1]: times})
    return table.drop_nulls().unique(maintain_order=True)


def _asked_problems(asked: pl.DataFrame) -> Iterator[Problem]:
    """Yield each column that a table of samples lacks, and that it has no row."""
    for name in SAMPLE:
        if name not in asked.columns:
            yield Problem(AT, f"lacks column {name}", f"give a table with {' and '.join(SAMPLE)}")
    if asked.is_empty():
        yield Problem(AT, "has no row", f"give a {' and a '.join(SAMPLE)} for each answer")


def _nothing_to_read(held: InMemory, readers: Mapping[str, Reader]) -> str:
    """Return the message for rows of which the model reads none: what it reads."""
    reads = ", ".join(readers)
    listed = sorted({code for reader in readers.values() for code in reader.codes or []})
    codes = f" (codes as {first_few(listed)})" if listed else ""
    return (
        f"{EVENTS}: no row is one that the model reads, which is {reads}{codes}; look whether "
        f"column {CODE} has other codes, and which columns hold texts, values and media"
    )


def _is_pandas(value: Any, name: str) -> bool:
    """Return whether a value is of a class of pandas, without importing pandas."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(value, getattr(pandas, name))
