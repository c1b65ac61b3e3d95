"""Write a sample index: the rows that each modality reads, and those that each sample may see.

One shard is in memory at a time, and each is read once a modality. The cost is linear in the rows,
except for sorting.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from datasets.utils import tqdm
from meds.schema import LabelSchema, data_subdirectory, dataset_metadata_filepath
from numpy.typing import NDArray

from clintune.cohort import shards
from clintune.cohort.arrays import spans
from clintune.cohort.clock import cohort_has_zone
from clintune.cohort.doubts import Doubts
from clintune.cohort.row_writer import STATIC, RowWriter
from clintune.cohort.seal import seal
from clintune.cohort.shards import CODE, MEDIA_KEY, MOMENT, NUMBER, ROW, SUBJECT, TEXT, TIME
from clintune.core.errors import DataError
from clintune.core.problems import Problem, raise_first

PREDICTION_TIME = LabelSchema.prediction_time_name
RANGE = ("static", "static_stop", "start", "stop")
"""A sample sees rows [static, static_stop) and [start, stop) of a modality's file."""


@dataclass(frozen=True)
class RowSelection:
    """The rows that a modality reads.

    `rows` is true for them; `media` names the column of its files.
    """

    rows: pl.Expr
    media: str | None = None


@dataclass
class SampleWindows:
    """The samples of a cohort in (subject, time) order, and what each may see.

    Times are in microseconds. `ranges[modality]` is int64 [4, N] in the order of RANGE; `covered`
    [N] says that the subject has data.
    """

    subjects: NDArray[np.int64]
    times: NDArray[np.int64]
    lookback: int | None
    ranges: dict[str, NDArray[np.int64]]
    covered: NDArray[np.bool_] = field(init=False)

    def __post_init__(self) -> None:
        self.covered = np.zeros(len(self.subjects), bool)

    def of_subjects(self, subjects: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the numbers of the samples of some subjects, ascending; `subjects` is sorted."""
        first = np.searchsorted(self.subjects, subjects, "left")
        return spans(first, np.searchsorted(self.subjects, subjects, "right") - first)[0]

    def keep(self, which: NDArray[np.bool_]) -> "SampleWindows":
        """Return some of the samples, and what they may see."""
        ranges = {name: seen[:, which] for name, seen in self.ranges.items()}
        kept = SampleWindows(self.subjects[which], self.times[which], self.lookback, ranges)
        kept.covered = self.covered[which]
        return kept

    def visible_ranges(self, samples: NDArray[np.int64], rows: pl.DataFrame) -> NDArray[np.int64]:
        """Return the ranges [4, n] that these samples see in `rows`.

        `rows` are sorted by (subject, time), null times first.
        """
        subjects, times = self.subjects[samples], self.times[samples]
        row_subjects = rows[SUBJECT].to_numpy()
        row_times = rows[TIME].to_physical().fill_null(STATIC).to_numpy()

        # The rows of each subject, and the end of those without a time.
        first = np.searchsorted(row_subjects, subjects, "left")
        after = np.searchsorted(row_subjects, subjects, "right")
        static_stop = _bisect(row_times, first, after, np.full_like(times, STATIC + 1))

        # A row at the prediction time itself is seen.
        start = static_stop
        if self.lookback is not None:
            start = _bisect(row_times, static_stop, after, times - self.lookback)
        stop = _bisect(row_times, static_stop, after, times + 1)
        return np.stack([first, static_stop, start, stop])


def write_index(
    folder: Path,
    root: Path,
    row_filter: Mapping[str, RowSelection],
    labels: Mapping[str, pl.DataFrame | None],
    lookback_hours: float | None,
    about: Mapping[str, Any],
    drop_unknown: bool = False,
) -> None:
    """Write the index of the cohort at `root` to `folder`; `about` goes into its `index.json`.

    What is doubtful stands there as `remarks`. Raises DataError for data that break the contract
    (see `shards`), for a subject in two shards, and for a label whose subject has no data, unless
    `drop_unknown` leaves it out.
    """
    folder.mkdir()
    names = [path.relative_to(root).as_posix() for path in shards.find_shards(root)]
    has_zone = cohort_has_zone(root, names)
    samples = _samples(root, labels)

    windows = SampleWindows(
        subjects=samples[SUBJECT].to_numpy(),
        times=samples[PREDICTION_TIME].to_physical().to_numpy(),
        lookback=None if lookback_hours is None else round(lookback_hours * 3_600_000_000),
        ranges={name: np.zeros((len(RANGE), len(samples)), np.int64) for name in row_filter},
    )

    # The rows come first, because they say which samples have data.
    codes, doubts = _write_rows(folder, root, names, row_filter, windows)
    remarks = doubts.told(samples)
    if not windows.covered.all():
        said = _without_data(samples, windows.covered, labels)
        if not (drop_unknown and windows.covered.any()):
            raise DataError(str(_unknown_subjects(root, said, drop_unknown)))
        remarks.append(f"{said} left out")
        samples, windows = samples.filter(pl.Series(windows.covered)), windows.keep(windows.covered)

    # Then the samples, and the description of the index.
    widths = _write_samples(folder / "samples.arrow", samples, labels, windows)
    description = {
        **about,
        "tasks": widths,
        "shards": names,
        "modalities": sorted(row_filter),
        "codes": codes,
        "remarks": remarks,
        "has_zone": has_zone,
    }
    seal(folder, description)


def _write_rows(
    folder: Path,
    root: Path,
    names: Sequence[str],
    row_filter: Mapping[str, RowSelection],
    windows: SampleWindows,
) -> tuple[list[str], Doubts]:
    """Write the rows of the shards `names` that modalities read.

    What each sample sees of them goes to `windows`. Returns the codes of all rows, and what is
    doubtful. Raises DataError for a subject in two shards.
    """
    media = shards.media_columns(root)
    owners, codes, doubts = [], dict[str, int](), Doubts()

    with ExitStack() as stack:
        writers = {name: stack.enter_context(RowWriter(folder, name, codes)) for name in row_filter}
        for number, where in enumerate(tqdm(names, "index", unit="shard", disable=None)):
            # What concerns all rows of the shard.
            scan = shards.scan_shard(root / where, where, media)
            owners.append(shards.read_subjects(scan, where).to_numpy())
            for code in shards.read_codes(scan, where):
                codes.setdefault(code, len(codes))
            doubts.add(scan, where)

            # What each modality reads of it.
            mine = windows.of_subjects(owners[-1])
            windows.covered[mine] = True

            for name, claim in row_filter.items():
                rows = claimed_rows(scan, where, claim, media)
                if claim.media is not None and len(rows):
                    raise_first(shards.path_problems(rows, claim.media, where))
                if len(rows):
                    doubts.add_claimed(name, rows)
                    ranges = windows.visible_ranges(mine, rows) + writers[name].num_rows
                    windows.ranges[name][:, mine] = ranges
                    writers[name].append(rows.with_columns(pl.lit(number, pl.Int32).alias("shard")))

    raise_first(owner_problems(owners, names))
    return list(codes), doubts


def _bisect(
    times: NDArray[np.int64],
    low: NDArray[np.int64],
    high: NDArray[np.int64],
    moments: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Return, for each n, the first place in `times[low[n]:high[n]]` not before `moments[n]`.

    The times are ascending within each of these parts.
    """
    while (unsure := low < high).any():
        middle = np.where(unsure, (low + high) // 2, 0)
        before = times[middle] < moments
        low = np.where(unsure & before, middle + 1, low)
        high = np.where(unsure & ~before, middle, high)
    return low


def claimed_rows(
    scan: pl.LazyFrame, where: str, claim: RowSelection, media: list[str]
) -> pl.DataFrame:
    """Return the rows of a shard that a modality reads, in (subject, time) order, static first.

    There are none where the shard lacks the media column. Raises DataError as `column_problems` has
    them.
    """
    columns = scan.collect_schema().names()
    if claim.media is not None and claim.media not in columns:
        return pl.DataFrame()
    raise_first(column_problems(columns, where, claim, media))

    # A modality without media has null paths.
    path = pl.lit(None, pl.String) if claim.media is None else pl.col(claim.media)
    with shards.readable(where):
        columns_read = (SUBJECT, TIME, CODE, NUMBER, TEXT, path.alias("path"), ROW)
        rows = scan.filter(claim.rows).select(columns_read).collect(engine="streaming")
    return rows if _in_order(rows) else rows.sort(SUBJECT, TIME, maintain_order=True)


def column_problems(
    columns: Sequence[str], where: str, claim: RowSelection, media: Sequence[str]
) -> Iterator[Problem]:
    """Yield a media column that the metadata do not list, and each column that a modality misses.

    `columns` are those of a shard, `media` those that the metadata list.
    """
    if claim.media in columns and claim.media not in media:
        listing = f"{MEDIA_KEY} of {dataset_metadata_filepath}"
        what = f"has media column {claim.media}, which {listing} does not list"
        yield Problem(where, what, "add it there")
    for name in sorted(set(claim.rows.meta.root_names()) - set(columns)):
        what = f"lacks column {name}, which a modality's `row_filter` reads"
        yield Problem(where, what, "add it")


def _in_order(rows: pl.DataFrame) -> bool:
    """Return whether rows are in MEDS order.

    They mostly are, and sorting a large shard doubles the memory.
    """
    subjects = rows[SUBJECT].to_numpy()
    times = rows[TIME].to_physical().fill_null(STATIC).to_numpy()
    same = subjects[1:] == subjects[:-1]
    return bool(np.all((subjects[1:] > subjects[:-1]) | (same & (times[1:] >= times[:-1]))))


def _samples(root: Path, labels: Mapping[str, pl.DataFrame | None]) -> pl.DataFrame:
    """Return the distinct samples of all labels, sorted; DataError where there is none."""
    present = [table for table in labels.values() if table is not None]
    keys = [table.select(SUBJECT, pl.col(PREDICTION_TIME).cast(MOMENT)) for table in present]
    if not sum(map(len, keys)):
        raise DataError(
            f"{root}: no label file has a row for {', '.join(labels)}; "
            "add labels or drop the cohort"
        )
    return pl.concat(keys).unique().sort(SUBJECT, PREDICTION_TIME)


def owner_problems(owners: list[NDArray[np.int64]], names: Sequence[str]) -> Iterator[Problem]:
    """Yield the first two shards that hold one subject, with the number of such subjects.

    `owners` are the subjects of each shard.
    """
    subjects = np.concatenate(owners)
    shard = np.repeat(np.arange(len(owners)), [len(owner) for owner in owners])
    order = np.argsort(subjects, kind="stable")
    twice = np.flatnonzero(np.diff(subjects[order]) == 0)
    if len(twice):
        first, second = names[shard[order[twice[0]]]], names[shard[order[twice[0] + 1]]]
        what = f"both hold a subject ({len(twice)} such)"
        yield Problem(f"{first} and {second}", what, "keep each subject in one file")


def _without_data(
    samples: pl.DataFrame,
    covered: NDArray[np.bool_],
    labels: Mapping[str, pl.DataFrame | None],
) -> str:
    """Return how many labelled subjects have no data, and for which tasks."""
    unknown = samples.filter(~pl.Series(covered)).select(SUBJECT).unique()
    present = {key: table for key, table in labels.items() if table is not None}
    tasks = [key for key, table in present.items() if len(table.join(unknown, on=SUBJECT))]
    count = f"{len(unknown)} subject{'s'[: len(unknown) > 1]} labelled for {', '.join(tasks)}"
    return f"{count} without a row in {data_subdirectory}/"


def _unknown_subjects(root: Path, said: str, drop_unknown: bool) -> Problem:
    """Return the problem of labelled subjects without data that may not be left out."""
    remedy = "" if drop_unknown else ", or leave them out with unknown_subjects: drop of the cohort"
    return Problem(str(root), said, f"add their data or drop their labels{remedy}")


def _write_samples(
    path: Path,
    samples: pl.DataFrame,
    labels: Mapping[str, pl.DataFrame | None],
    windows: SampleWindows,
) -> dict[str, int]:
    """Write one row for each sample.

    Returns the width T of each task's target, 0 where the cohort has no labels for the task.
    """
    columns = {
        SUBJECT: samples[SUBJECT].to_arrow(),
        PREDICTION_TIME: samples[PREDICTION_TIME].to_arrow(),
    }
    widths = {}

    for task, table in labels.items():
        widths[task] = 0
        if table is None or table.is_empty():
            continue

        # The target of each sample, null where the task has no label.
        moment, value = pl.col(PREDICTION_TIME), pl.col("target")
        keyed = table.select(SUBJECT, moment.cast(MOMENT), value.cast(pl.List(pl.Float32)))
        keys = [SUBJECT, PREDICTION_TIME]
        joined = samples.join(keyed, on=keys, how="left", maintain_order="left")

        target = joined["target"]
        lengths = target.drop_nulls().list.len().unique()
        assert len(lengths) == 1, f"task {task} reads targets of different lengths"
        widths[task] = int(lengths[0])
        columns[f"target/{task}"] = target.to_arrow(compat_level=pl.CompatLevel.oldest())

    for modality, ranges in windows.ranges.items():
        for name, bound in zip(RANGE, ranges, strict=True):
            columns[f"{modality}/{name}"] = pa.array(bound)

    table = pa.table(columns)
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as stream:
        stream.write_table(table)
    return widths
