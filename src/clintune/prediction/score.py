"""Score the samples of one shard: each item is read once, held in memory, and forgotten with the shard."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from clintune.cohort.labels import SAMPLE
from clintune.cohort.samples import Items, Samples
from clintune.core.errors import DataError, PackageError
from clintune.core.files import value_sha256
from clintune.evaluation.predict import Predicted, predict_alone
from clintune.modalities.base import Strange
from clintune.model.cache import PieceCache
from clintune.model.columnar import columnar
from clintune.model.encode import WORTH_A_WORKER, Preparer, encoding, hold_pieces
from clintune.model.known import KnownPieces
from clintune.model.pieces import PieceSource
from clintune.package.contents import Package
from clintune.prediction.folder import UNREADABLE
from clintune.prediction.job import Job
from clintune.training.precision import precision
from clintune.training.prepare import check_readable, reason_alone
from clintune.training.strategy import num_workers

_LISTED = {"modality": pl.String, "row": pl.String, "reason": pl.String}
_MANY = 100
"""Samples of which none has a finite answer that are enough to stop a job in the midst."""
_NOTHING = "there is nothing of this sample to read"


@dataclass(frozen=True, kw_only=True)
class Scored:
    """Calibrated predictions by task [N, P], where to say nothing [N, G], and what could not be read of which sample.

    G questions as in `tasks.questions`, at least one column; predictions that are not finite are NaN, and `not_finite`
    says of how many samples. `unreadable` has subject_id, prediction_time, modality, row, reason. `strange` is what
    `Modality.strange` returns, of the first member.
    """

    predicted: Predicted
    withheld: Mapping[str, NDArray[np.bool_]]
    not_finite: Mapping[str, int]
    unreadable: pl.DataFrame
    strange: Mapping[str, Strange]


class _Reader(NamedTuple):
    """What prepares the items of a modality, and what is known of them."""

    prepare: Preparer
    known: KnownPieces


class Scorer:
    """Scores samples of a job, whose features are read from its cache where that has them."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.predictor = job.predictor
        self.samples = job.samples
        self.workers = num_workers(job.config.workers, job.device)
        self._readers: dict[str, _Reader] = {}
        self._tabled = [_tabled(member, job.samples) for member in job.predictor.members]

    def score(self, rows: NDArray[np.int64]) -> Scored:
        """Score the samples `rows`.

        One of which an item cannot be read, or that has none, is scored from what there is, and withheld, as is one
        whose answer is not finite. Raises DataError where more than `max_bad_fraction` of a modality's items cannot be
        read, PackageError where none of many answers is finite.
        """
        held: dict[str, PieceSource] = {}
        bad: dict[str, dict[int, DataError]] = {}

        answers = []
        for member, tabled in zip(self.predictor.members, self._tabled, strict=True):
            sources = self._sources(member, tabled, rows, held, bad)
            answers.append(
                predict_alone(
                    member,
                    sources,
                    self.samples,
                    rows,
                    batch_size=self.job.config.batch_size,
                    precision=precision(member.config),
                    device=self.job.device,
                )
            )

        predicted, withheld, not_finite = {}, {}, {}
        for name, calibration in self.predictor.calibrations.items():
            raw = np.mean([answer[name] for answer in answers], axis=0)
            with np.errstate(all="ignore"):
                calibrated = calibration.apply(raw)
            together = not self.predictor.members[0].tasks[name].parts
            predicted[name], not_finite[name] = only_finite(calibrated, together)
            withheld[name] = calibration.abstains(predicted[name])
            if len(rows) >= _MANY and not_finite[name].all():
                raise never_finite(name)

        unreadable, doubtful = self._unreadable(rows, sources, bad, not_finite)
        return Scored(
            predicted=predicted,
            withheld={name: part | doubtful[:, None] for name, part in withheld.items()},
            not_finite={name: int(part.sum()) for name, part in not_finite.items()},
            unreadable=unreadable,
            strange=self._strange(rows),
        )

    def _strange(self, rows: NDArray[np.int64]) -> dict[str, Strange]:
        """Return what is not as in training in the facts of some samples, as the first member knows them."""
        found: dict[str, Strange] = {}
        for name, source in self._tabled[0].items():
            seen = source.select(self.samples.seen(name, rows))
            modality = self.predictor.members[0].model.encoders[name]
            pieces = source.read(seen, np.zeros_like(seen.number), modality.max_pieces)
            found |= {} if pieces is None else modality.strange(pieces.tensors)
        return found

    def _sources(
        self,
        member: Package,
        tabled: Mapping[str, PieceSource],
        rows: NDArray[np.int64],
        held: dict[str, PieceSource],
        bad: dict[str, dict[int, DataError]],
    ) -> dict[str, PieceSource]:
        """Return where the pieces of each modality are; what members have in common is made once and kept in `held`."""
        sources: dict[str, PieceSource] = {}
        computed = precision(member.config)
        for name, modality in member.model.encoders.items():
            if name in tabled:
                sources[name] = tabled[name]
                continue

            key = value_sha256([name, encoding(modality, member.statistics[name], computed)])
            if key not in held:
                items = self.samples.items(name, rows)
                if key not in self._readers:
                    cached = PieceCache(name, modality, member.statistics[name], self.job.cache, computed)
                    self._readers[key] = self._reader(cached, len(items))
                reader = self._readers[key]
                views = modality.views if member.config.model.average_views else 1
                held[key], bad[name] = hold_pieces(
                    reader.prepare, items, modality, views, computed, self.job.device, reader.known.of(items, views)
                )

                where = self._where(name, bad[name])
                mine = [
                    {"modality": name, "row": where[number], "reason": reason_alone(error)}
                    for number, error in bad[name].items()
                ]
                check_readable(
                    mine,
                    len(items),
                    self.job.config.data.max_bad_fraction,
                    self.job.shards[0].out / UNREADABLE,
                    "items of a shard",
                )

            sources[name] = held[key]
        return sources

    def _reader(self, cached: PieceCache, num_items: int) -> "_Reader":
        """Return what prepares and finds items of a modality, of about so many at a time.

        Where the job keeps features, those of all its samples are computed first, as for training.
        """
        name, modality = cached.name, cached.modality
        if self.job.config.keep:
            cached.fill(self.samples.items(name, np.arange(len(self.samples))), self.job.device, self.workers)
        workers = min(self.workers, num_items // WORTH_A_WORKER)
        prepare = Preparer(self.samples, name, modality, workers)
        return _Reader(prepare, KnownPieces(cached, self.job.work / "media"))

    def _where(self, name: str, numbers: Iterable[int]) -> dict[int, str]:
        """Return the row of each item of a modality, by the item's number."""
        return {number: Items(self.samples, name, np.array([number]), np.zeros(1))[0].where for number in numbers}

    def _unreadable(
        self,
        rows: NDArray[np.int64],
        sources: Mapping[str, PieceSource],
        bad: Mapping[str, Mapping[int, DataError]],
        not_finite: Mapping[str, NDArray[np.bool_]],
    ) -> tuple[pl.DataFrame, NDArray[np.bool_]]:
        """Return what is wrong with each sample, and with which ones something is [N].

        That is an unreadable item, nothing to read at all, or an answer that is no finite number.
        """
        listed: list[tuple[int, str | None, str | None, str]] = []
        num_pieces = np.zeros(len(rows), np.int64)
        for name, source in sources.items():
            seen = source.select(self.samples.seen(name, rows))
            lengths = source.lengths(seen.number, np.zeros_like(seen.number))
            num_pieces += np.bincount(seen.owner, lengths, minlength=len(rows)).astype(np.int64)
            errors = bad.get(name, {})
            where = self._where(name, errors)
            hit = seen.take(np.isin(seen.number, list(errors)))
            for number, owner in zip(hit.number.tolist(), hit.owner.tolist(), strict=True):
                listed.append((owner, name, where[number], reason_alone(errors[number])))

        listed += [(owner, None, None, _NOTHING) for owner in np.flatnonzero(num_pieces == 0).tolist()]
        for name, samples in not_finite.items():
            reason = f"the answer for {name} is not a finite number"
            listed += [(owner, None, None, reason) for owner in np.flatnonzero(samples).tolist()]

        listed.sort(key=lambda line: line[0])
        table = pl.DataFrame(listed, {"sample": pl.Int64, **_LISTED}, orient="row")
        owners = table["sample"].to_numpy()
        doubtful = np.zeros(len(rows), np.bool_)
        doubtful[owners] = True

        subjects, times = (column[rows[owners]] for column in (self.samples.subject_id, self.samples.prediction_time))
        return table.select(pl.Series(SAMPLE[0], subjects), pl.Series(SAMPLE[1], times), *_LISTED), doubtful


def only_finite(predicted: NDArray[np.float32], together: bool) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return predictions [N, P] with NaN for what is not finite, and in which samples that is [N].

    Columns that belong `together`, as classes that exclude each other do, are known together or not at all.
    """
    finite = np.isfinite(predicted)
    if together:
        finite[:] = finite.all(axis=1, keepdims=True)
    kept: NDArray[np.float32] = np.where(finite, predicted, np.float32(np.nan))
    broken: NDArray[np.bool_] = np.any(~finite, axis=1)
    return kept, broken


def never_finite(task: str) -> PackageError:
    """Return the error of a model that answers a task with a finite number for no sample."""
    return PackageError(
        f"tasks.{task}: the model answers with a finite number for no sample; its weights, its calibration or the "
        "data are broken: load the package anew, and check the values of the cohort"
    )


def _tabled(member: Package, samples: Samples) -> dict[str, PieceSource]:
    """Return the sources of the modalities that need no preparing."""
    found = {name: columnar(samples, name, modality) for name, modality in member.model.encoders.items()}
    return {name: source for name, source in found.items() if source is not None}
