"""Rows in memory as a source of samples: cut at the same door, and never written to disk."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from clintune.cohort.build import PREDICTION_TIME, RANGE, RowSelection, SampleWindows, claimed_rows
from clintune.cohort.row_source import RowSource
from clintune.cohort.row_writer import plain_columns, text_table
from clintune.cohort.rows import HeldRows
from clintune.cohort.shards import (
    CODE,
    MOMENT,
    NUMBER,
    ROW,
    SUBJECT,
    TEXT,
    TIME,
    path_problems,
    read_codes,
)
from clintune.core.errors import DataError
from clintune.core.problems import raise_first

_NOTHING = pl.DataFrame(
    schema={
        SUBJECT: pl.Int64,
        TIME: MOMENT,
        CODE: pl.String,
        NUMBER: pl.Float32,
        TEXT: pl.String,
        "path": pl.String,
        ROW: pl.UInt32,
    }
)


class InMemory(RowSource):
    """Samples of MEDS rows that are in memory."""

    def __init__(
        self,
        name: str,
        events: pl.LazyFrame,
        samples: pl.DataFrame,
        row_filter: Mapping[str, RowSelection],
        *,
        root: Path,
        has_zone: bool,
        media: list[str],
        lookback_hours: float | None = None,
        media_anywhere: bool = False,
        contents: Mapping[str, bytes] | None = None,
    ) -> None:
        """Take samples, and rows as `cohort.shards.typed` returns them.

        `samples` has subject_id and prediction_time, each pair once. `name` stands for the rows in
        errors. `media` are the media columns of the rows. Their paths are relative to `root` and
        may lead out of it only with `media_anywhere`. `contents` holds media that are no files, by
        the text in the place of their paths. Raises DataError as `cohort.build` does for rows that
        break the contract, and for samples of subjects that have no row.
        """
        self.name, self.root, self.has_zone = name, root, has_zone
        self._contents = contents or {}
        self.fingerprint = ""  # no cache may know these rows again
        self.widths = {}
        self.codes = read_codes(events, name).to_list()

        self._windows = _windows(samples, lookback_hours)
        self._check_subjects(events)

        # What each modality reads; a modality that finds nothing has no rows.
        self.rows = {}
        for modality, claim in sorted(row_filter.items()):
            rows = claimed_rows(events, name, claim, media)
            if rows.is_empty():
                rows = _NOTHING
            elif claim.media is not None and not media_anywhere:
                raise_first(path_problems(rows, claim.media, name))
            self._add(modality, rows)

    def _check_subjects(self, events: pl.LazyFrame) -> None:
        """Raise DataError where samples are of subjects without a row."""
        known = events.select(pl.col(SUBJECT).unique()).collect().to_series()
        wanted = pl.Series(SUBJECT, np.unique(self._windows.subjects))
        if number := int((~wanted.is_in(known.implode())).sum()):
            raise DataError(
                f"{self.name}: hold no row of {number} of the {len(wanted)} subjects to predict "
                "for; add their rows, or leave them out"
            )

    def _add(self, modality: str, rows: pl.DataFrame) -> None:
        """Keep the rows that a modality reads, and find those that each sample may see."""
        everybody = np.arange(len(self._windows.subjects))
        self._windows.ranges[modality] = self._windows.visible_ranges(everybody, rows)

        texts = text_table(rows.with_columns(pl.lit(0, pl.Int32).alias("shard")))
        columns = plain_columns(rows, self.codes)
        known = (self.root, self.codes, [self.name], self.has_zone)
        self.rows = {**self.rows, modality: HeldRows(columns, texts, self._contents, *known)}

    @cached_property
    def subject_ids(self) -> NDArray[np.int64]:
        """Subject of each sample [N]."""
        return self._windows.subjects

    @cached_property
    def prediction_times(self) -> NDArray[np.datetime64]:
        """Prediction time of each sample [N], datetime64[us]."""
        return self._windows.times.view("datetime64[us]")

    def targets(self, task: str) -> NDArray[Any]:
        """Return no targets: rows in memory have no labels."""
        return np.empty((len(self), 0), np.float32)

    @cached_property
    def _ranges(self) -> Mapping[str, NDArray[np.int64]]:
        assert all(len(ranges) == len(RANGE) for ranges in self._windows.ranges.values())
        return self._windows.ranges


def _windows(samples: pl.DataFrame, lookback_hours: float | None) -> SampleWindows:
    """Return the samples in (subject, prediction time) order, which see no rows yet."""
    samples = samples.select(SUBJECT, pl.col(PREDICTION_TIME).cast(MOMENT))
    samples = samples.sort(SUBJECT, PREDICTION_TIME)
    return SampleWindows(
        subjects=samples[SUBJECT].to_numpy(),
        times=samples[PREDICTION_TIME].to_physical().to_numpy(),
        lookback=None if lookback_hours is None else round(lookback_hours * 3_600_000_000),
        ranges={},
    )
