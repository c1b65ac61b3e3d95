"""The clock of a cohort: all of its times have a time zone, or none of them has."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl

from clintune.cohort.shards import TIME, data_files, readable
from clintune.core.problems import Problem, raise_first

Clock = tuple[str, bool] | None
"""The first shard with times, and whether they have a zone; None where no shard has times."""


def clock_of(root: Path) -> Clock:
    """Return the clock of the cohort at `root`."""
    for path in data_files(root):
        where = path.relative_to(root).as_posix()
        if (zoned := has_zone(path, where)) is not None:
            return where, zoned
    return None


def has_zone(path: Path, where: str) -> bool | None:
    """Return whether the times of a shard have a time zone; None where it has no times."""
    with readable(where):
        kind = pl.scan_parquet(path, glob=False, hive_partitioning=False).collect_schema().get(TIME)
    return kind.time_zone is not None if isinstance(kind, pl.Datetime) else None


def cohort_has_zone(root: Path, names: Sequence[str]) -> bool:
    """Return whether the times of the shards `names` have a zone.

    Raises DataError where only some of them have.
    """
    clock = clock_of(root)
    raise_first(zone_problems(root, names, clock))
    return clock is not None and clock[1]


def zone_problems(root: Path, names: Sequence[str], clock: Clock) -> Iterator[Problem]:
    """Yield each of the shards `names` whose times do not fit the cohort's clock."""
    for where in names:
        if (zoned := has_zone(root / where, where)) is not None:
            yield from clock_problems(where, TIME, zoned, clock)


def clock_problems(where: str, column: str, zoned: bool, clock: Clock) -> Iterator[Problem]:
    """Yield a problem where the times of a column do not fit those of the cohort.

    Both have a time zone, or neither. Times without a zone are of one local clock, and nobody knows
    how far it is from UTC.
    """
    if clock is None or clock[1] == zoned:
        return
    mine, others = ("a time zone", "none") if zoned else ("no time zone", "one")
    yield Problem(
        where,
        f"column {column} has {mine}, while column {TIME} of {clock[0]} has {others}",
        "write all times of a cohort with a time zone, or all of one local clock without",
    )
