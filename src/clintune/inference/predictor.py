"""The predictor: from rows in memory, or a cohort on disk, to one table of answers."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from clintune.cohort.clock import cohort_has_zone
from clintune.cohort.in_memory import InMemory
from clintune.cohort.index import row_selections
from clintune.cohort.labels import SAMPLE
from clintune.cohort.samples import Samples
from clintune.cohort.shards import find_shards, media_columns, read_subjects, scan_shard
from clintune.core.console import console
from clintune.core.errors import ConfigError, DataError
from clintune.inference.answerer import Answerer, never_finite
from clintune.inference.answers import Settings
from clintune.inference.doubts import event_doubts
from clintune.inference.events import hold_events
from clintune.inference.table import answer_table
from clintune.inference.times import moments_at
from clintune.modalities.base import readers_of
from clintune.package.contents import Package
from clintune.storage.remote import is_remote
from clintune.tasks.base import Task
from clintune.tasks.calibration import Calibration

_TOGETHER = 2000
"""Greatest number of samples whose items are in memory at a time."""


@dataclass(frozen=True, kw_only=True)
class Predictor:
    """A model of one or several members; their predictions are averaged, then calibrated."""

    members: Sequence[Package]
    calibrations: Mapping[str, Calibration]

    def __repr__(self) -> str:
        first = self.members[0].config
        reads, answers = ", ".join(first.modalities), ", ".join(self.calibrations)
        return f"Predictor({first.name}: {answers} from {reads}; members: {len(self.members)})"

    @property
    def tasks(self) -> Mapping[str, Task]:
        """Return the tasks that the model answers, by name."""
        return self.members[0].tasks

    def predict(
        self,
        events: Any = None,
        *,
        at: Any = None,
        cohort: str | os.PathLike[str] | None = None,
        times: str | os.PathLike[str] | None = None,
        root: str | os.PathLike[str] = ".",
        lookback_hours: float | None = None,
        batch_size: int = 64,
        precision: str | None = None,
        max_bad_fraction: float = 0.1,
    ) -> pl.DataFrame:
        """Answer for the subjects of MEDS rows in memory, or of a cohort on disk.

        `events` is a DataFrame of polars or pandas with subject_id, time and code, and, if any,
        numeric_value, text_value and media columns, with paths relative to `root` or absolute. `at`
        says when to predict: a datetime; a column of `events`, or its name; a mapping, or a pandas
        Series, of subjects to times; a DataFrame of subject_id and prediction_time, whose order the
        answers keep; by default the last row of each subject. `cohort` is a MEDS folder, `times` is
        a Parquet file, `last`, or None for the times of its labels. The model reads no row after a
        prediction time, and none before `lookback_hours` if given. Nothing is written to disk.
        A line on standard error says what is doubtful: codes that the model does not know, and
        prediction times far from the rows of their subject.

        Returns the rows of `answer_table`. Raises ConfigError and DataError for arguments and data
        that do not fit, DataError where more than `max_bad_fraction` of a modality's items cannot
        be read, and PackageError where no answer is finite.
        """
        _check_sides(events, at, cohort, times)
        self._check_can_score()
        settings = Settings(
            batch_size=batch_size, precision=precision, max_bad_fraction=max_bad_fraction
        )

        # A cohort is answered shard by shard.
        if cohort is not None:
            shards = self._shards(_cohort_folder(cohort), times, lookback_hours)
            parts = [self._answer(shard, settings) for shard in shards]
            return self._checked(pl.concat(parts).sort(SAMPLE))

        folder = Path(root).expanduser().resolve()
        first = self.members[0]
        readers = readers_of(first.model.encoders)
        held = hold_events(events, at, readers, folder, lookback_hours)
        for sentence in event_doubts(held.events, held.source, held.samples, first.statistics):
            console.print(sentence)
        answers = self._checked(self._answer(held.source, settings))
        return held.samples.join(answers, on=SAMPLE, how="left", maintain_order="left")

    def _answer(self, source: InMemory, settings: Settings) -> pl.DataFrame:
        """Return the answers to all samples of a source, `_TOGETHER` at a time."""
        answerer = Answerer(self.members, self.calibrations, Samples([source]), settings)
        keys = pl.DataFrame({SAMPLE[0]: source.subject_ids, SAMPLE[1]: source.prediction_times})

        tables = []
        for start in range(0, len(source), _TOGETHER):
            rows = np.arange(start, min(start + _TOGETHER, len(source)))
            answers = answerer.answer(rows)
            tables.append(answer_table(keys[start : start + len(rows)], answers, self.tasks))
        return pl.concat(tables)

    def _checked(self, answers: pl.DataFrame) -> pl.DataFrame:
        """Return the answers; PackageError where a task has no finite answer at all."""
        for name in self.tasks:
            columns = answers.select(pl.selectors.starts_with(f"{name}/") & pl.selectors.float())
            if any(column.null_count() == len(column) for column in columns):
                raise never_finite(name)
        return answers

    def _shards(
        self,
        root: Path,
        times: str | os.PathLike[str] | None,
        lookback_hours: float | None,
    ) -> Iterator[InMemory]:
        """Yield the samples of each shard of a cohort that has some, with its rows in memory."""
        # Find the samples of the whole cohort.
        samples = moments_at(_plain_times(times), self.tasks, root)
        if samples.is_empty():
            remedy = "say in `times` when to predict"
            raise DataError(f"{root}: no subject has an event with a time; {remedy}")

        names = [path.relative_to(root).as_posix() for path in find_shards(root)]
        has_zone, media = cohort_has_zone(root, names), media_columns(root)
        selections = row_selections(readers_of(self.members[0].model.encoders))

        # Hold the rows of one shard at a time.
        found = 0
        for name in names:
            scan = scan_shard(root / name, name, media)
            mine = samples.filter(pl.col(SAMPLE[0]).is_in(read_subjects(scan, name).implode()))
            found += len(mine)
            if len(mine):
                yield InMemory(
                    name,
                    scan,
                    mine,
                    selections,
                    root=root,
                    has_zone=has_zone,
                    media=media,
                    lookback_hours=lookback_hours,
                )

        if found < len(samples):
            raise DataError(
                f"{root}: holds no row of the subjects of {len(samples) - found} of {len(samples)} "
                "prediction times; add their data, or leave them out"
            )

    def _check_can_score(self) -> None:
        """Raise ConfigError for a model that was trained for comparison only."""
        if self.members[0].config.model.zero_fill:
            raise ConfigError("the model was trained with model.zero_fill; it cannot score")


def _check_sides(events: Any, at: Any, cohort: Any, times: Any) -> None:
    """Raise ConfigError for arguments that do not go together."""
    if (events is None) == (cohort is None):
        raise ConfigError("predict: give either rows, or cohort=FOLDER")
    if cohort is not None and at is not None:
        raise ConfigError("predict: `at` goes with rows in memory; a cohort takes `times`")
    if cohort is None and times is not None:
        raise ConfigError("predict: `times` goes with cohort=FOLDER; rows take `at`")


def _cohort_folder(cohort: str | os.PathLike[str]) -> Path:
    """Return the folder of a cohort; ConfigError for a URL, DataError where it is no folder."""
    if is_remote(os.fspath(cohort)):
        remedy = "give a folder, or call `clintune predict`, which fetches it"
        raise ConfigError(f"predict: cohort is a URL; {remedy}")
    root = Path(cohort).expanduser().resolve()
    if not root.is_dir():
        raise DataError(f"{root}: is not a folder; give that of a MEDS cohort")
    return root


def _plain_times(times: str | os.PathLike[str] | None) -> str | None:
    """Return `times` as `labelled_at` takes it; ConfigError for a file that is not there."""
    if times is None or times == "last":
        return times
    path = Path(times).expanduser()
    if not path.is_file():
        remedy = "give a Parquet file, `last`, or nothing for those of labels"
        raise ConfigError(f"times: {path} is not a file; {remedy}")
    return str(path)
