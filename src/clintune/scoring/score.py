"""Score the samples of one shard of a job, with the features that its cache holds already."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from clintune.cohort.labels import SAMPLE
from clintune.features.cache import PieceCache
from clintune.features.known import KnownPieces
from clintune.inference.answerer import Answerer, FindPieces
from clintune.inference.answers import Answers, Settings
from clintune.launch.device import num_workers
from clintune.modalities.base import Modality
from clintune.modalities.rows import Strange
from clintune.scoring.job import Job
from clintune.scoring.job_folder import UNREADABLE

_LISTED = {"modality": pl.String, "row": pl.String, "reason": pl.String}


@dataclass(frozen=True, kw_only=True)
class ScoredShard:
    """Answers for the samples of a shard, and the items that could not be read.

    `unreadable` has subject_id, prediction_time, modality, row, reason. `strange` is what
    `RowReader.strange` of the first member returns.
    """

    answers: Answers
    unreadable: pl.DataFrame
    strange: Mapping[str, Strange]


class Scorer:
    """Scores samples of a job; it reads features from the job's cache if they are there."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.samples = job.samples
        self.workers = num_workers(job.config.workers, job.device)

        predictor, config = job.predictor, job.config
        settings = Settings(
            batch_size=config.batch_size,
            precision=config.precision,
            workers=self.workers,
            max_bad_fraction=config.data.max_bad_fraction,
            listed=job.shards[0].out / UNREADABLE,
            what="items of a shard",
        )
        self.answerer = Answerer(
            predictor.members, predictor.calibrations, job.samples, settings, self._find
        )

    def score(self, rows: NDArray[np.int64]) -> ScoredShard:
        """Score the samples `rows`; raise what `Answerer.answer` raises."""
        answers = self.answerer.answer(rows)
        return ScoredShard(
            answers=answers, unreadable=self._unreadable(rows, answers), strange=self._strange(rows)
        )

    def _find(
        self, name: str, modality: Modality, statistics: Mapping[str, object], precision: str
    ) -> FindPieces:
        """Return a function that finds pieces of a modality in the job's cache.

        If the job keeps features, those of all its samples are computed first, as in training.
        """
        cached = PieceCache(name, modality, dict(statistics), self.job.cache, precision)
        if self.job.config.keep:
            cached.fill(
                self.samples.items(name, np.arange(len(self.samples))),
                self.job.device,
                self.workers,
            )
        return KnownPieces(cached, self.job.work / "media").of

    def _strange(self, rows: NDArray[np.int64]) -> dict[str, Strange]:
        """Return what is not as in training in the facts of some samples, by the first member."""
        found: dict[str, Strange] = {}
        for name, source in self.answerer.tabled[0].items():
            seen = source.select(self.samples.seen(name, rows))
            pieces = source.read(seen, np.zeros_like(seen.number), source.reader.max_pieces)
            found |= {} if pieces is None else source.reader.strange(pieces.tensors)
        return found

    def _unreadable(self, rows: NDArray[np.int64], answers: Answers) -> pl.DataFrame:
        """Return a table of what is wrong with samples, a row for each problem."""
        owners = np.array([problem.sample for problem in answers.problems], np.int64)
        listed = pl.DataFrame([problem[1:] for problem in answers.problems], _LISTED, orient="row")
        subjects = pl.Series(SAMPLE[0], self.samples.subject_id[rows[owners]])
        times = pl.Series(SAMPLE[1], self.samples.prediction_time[rows[owners]])
        return listed.select(subjects, times, *_LISTED)
