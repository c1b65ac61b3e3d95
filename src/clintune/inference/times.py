"""Prediction times: those of labels, those of a table, or the last event of each subject."""

from collections.abc import Mapping
from pathlib import Path

import polars as pl

from clintune.cohort.index import Labelled
from clintune.cohort.labels import SAMPLE, label_files, looked_for, read_label_files
from clintune.cohort.shards import SUBJECT, TIME, find_shards, readable, scan_shard
from clintune.core.console import console
from clintune.core.errors import DataError
from clintune.tasks.base import Task

_MOMENTS = "prediction times"


class _Moments:
    """Samples without labels."""

    def __init__(self, times: pl.DataFrame) -> None:
        self.times = times

    def read(self, root: Path) -> pl.DataFrame:
        """Return every sample with a target of no columns."""
        return self.times.with_columns(target=pl.lit([], pl.List(pl.Float32)))


class _LabelsAt:
    """The labels of a task at some times; other labels make no sample."""

    def __init__(self, task: Task, times: pl.DataFrame) -> None:
        self.task = task
        self.times = times

    def read(self, root: Path) -> pl.DataFrame | None:
        """Return the labels of these samples; None where the cohort has none for the task."""
        table = self.task.read(root)
        return None if table is None else table.join(self.times, on=SAMPLE, how="semi")


def labelled_at(times: str | None, tasks: Mapping[str, Task], root: Path) -> Mapping[str, Labelled]:
    """Return what gives a sample index its samples and labels; `tasks` where `times` is None.

    Raises DataError as `read_label_files` does for a table of times, for data that cannot be read,
    and where there is neither label nor time.
    """
    if times is None:
        if not any(label_files(root, task.label) for task in tasks.values()):
            places = ", ".join(looked_for(root, task.label) for task in tasks.values())
            raise DataError(
                f"{root}: no labels of the package's tasks say when to predict (looked for "
                f"{places}); add times=last, or times=FILE with {' and '.join(SAMPLE)}"
            )
        return tasks

    table = _last_events(root) if times == "last" else _table_of_times(root, Path(times))
    labels = {name: _LabelsAt(task, table) for name, task in tasks.items()}
    return {_MOMENTS: _Moments(table), **labels}


def _table_of_times(root: Path, path: Path) -> pl.DataFrame:
    """Return the samples of a table of times.

    Raises DataError for a table without a row, or without a subject of the cohort.
    """
    table = read_label_files(root, [path])[0].select(SAMPLE)
    if table.is_empty():
        raise DataError(
            f"times: {path} has no row; give it a {' and a '.join(SAMPLE)} for each sample"
        )

    subjects = table[SAMPLE[0]].unique()
    if not any(_has_some(root, shard, subjects) for shard in find_shards(root)):
        raise DataError(
            f"times: no subject of {path} is in the cohort {root}; "
            "check that the two belong together"
        )
    return table


def _has_some(root: Path, shard: Path, subjects: pl.Series) -> bool:
    """Return whether a shard has a row of some of the subjects."""
    where = shard.relative_to(root).as_posix()
    with readable(where):
        is_asked = pl.col(SUBJECT).is_in(subjects.implode())
        known = scan_shard(shard, where, []).filter(is_asked).head(1)
        return not known.collect(engine="streaming").is_empty()


def _last_events(root: Path) -> pl.DataFrame:
    """Return each subject of all shards at the time of its last event, as `last_events`."""
    parts = []
    for path in find_shards(root):
        where = path.relative_to(root).as_posix()
        with readable(where):
            last = scan_shard(path, where, []).group_by(SUBJECT).agg(pl.col(TIME).max())
            parts.append(last.collect(engine="streaming"))
    return _timed(pl.concat(parts))


def last_events(events: pl.LazyFrame) -> pl.DataFrame:
    """Return each subject of some rows at the time of its last event.

    A subject without an event that has a time is counted and left out.
    """
    return _timed(events.group_by(SUBJECT).agg(pl.col(TIME).max()).collect())


def moments_at(times: str | None, tasks: Mapping[str, Task], root: Path) -> pl.DataFrame:
    """Return subject_id and prediction_time of the samples of `labelled_at`, sorted."""
    tables = [part.read(root) for part in labelled_at(times, tasks, root).values()]
    samples = [table.select(SAMPLE) for table in tables if table is not None]
    return pl.concat(samples).unique().sort(SAMPLE)


def _timed(last: pl.DataFrame) -> pl.DataFrame:
    if static := last[TIME].null_count():
        console.print(f"{static} subjects have no event with a time and are not scored")
    keys = pl.col(SUBJECT).alias(SAMPLE[0]), pl.col(TIME).alias(SAMPLE[1])
    return last.drop_nulls(TIME).select(keys).sort(SAMPLE)
