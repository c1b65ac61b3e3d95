"""Score the samples of one shard: each item is read once, held in memory, and forgotten with the shard."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from clintune.cohort.labels import SAMPLE
from clintune.cohort.samples import Items, Samples
from clintune.core.errors import DataError
from clintune.core.files import value_sha256
from clintune.evaluation.predict import Probabilities, predict_alone
from clintune.model.encode import WORTH_A_WORKER, Preparer, encoding, hold_pieces
from clintune.model.pieces import PieceSource, TabledPieces
from clintune.package.contents import Package
from clintune.prediction.load import Predictor
from clintune.training.precision import precision
from clintune.training.prepare import check_readable
from clintune.training.strategy import num_workers

_LISTED = {"modality": pl.String, "row": pl.String, "reason": pl.String}
_NOTHING = "there is nothing of this sample to read"


@dataclass(frozen=True, kw_only=True)
class Scored:
    """Calibrated probabilities by task [N, O], where to say nothing [N, G], and what could not be read of which sample.

    G questions as in `evaluation.calibration`. `unreadable` has subject_id, prediction_time, modality, row, reason.
    """

    probabilities: Probabilities
    withheld: Mapping[str, NDArray[np.bool_]]
    unreadable: pl.DataFrame


class Scorer:
    """Scores samples with the members of a predictor; `workers` further processes prepare items (None: as suits it)."""

    def __init__(
        self,
        predictor: Predictor,
        samples: Samples,
        *,
        batch_size: int,
        workers: int | None,
        max_bad_fraction: float,
        device: torch.device,
    ) -> None:
        self.predictor = predictor
        self.samples = samples
        self.batch_size = batch_size
        self.workers = num_workers(workers, device)
        self.max_bad_fraction = max_bad_fraction
        self.device = device
        self._preparers: dict[str, Preparer] = {}
        self._tabled = [_tabled(member, samples) for member in predictor.members]

    def score(self, rows: NDArray[np.int64]) -> Scored:
        """Score the samples `rows`.

        One of which an item cannot be read, or that has none, is scored from what there is, and withheld. Raises
        DataError where more than `max_bad_fraction` of a modality's items cannot be read.
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
                    batch_size=self.batch_size,
                    precision=precision(member.config),
                    device=self.device,
                )
            )
        unreadable, doubtful = self._unreadable(rows, sources, bad)
        probabilities, withheld = {}, {}
        for name, calibration in self.predictor.calibrations.items():
            probabilities[name] = calibration.apply(np.mean([answer[name] for answer in answers], axis=0))
            withheld[name] = calibration.abstains(probabilities[name]) | doubtful[:, None]
        return Scored(probabilities=probabilities, withheld=withheld, unreadable=unreadable)

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
                if key not in self._preparers:
                    workers = min(self.workers, len(items) // WORTH_A_WORKER)
                    self._preparers[key] = Preparer(self.samples, name, modality, workers)
                views = modality.views if member.config.model.average_views else 1
                held[key], bad[name] = hold_pieces(self._preparers[key], items, modality, views, computed, self.device)
                check_readable(name, bad[name], len(items), self.max_bad_fraction, "items of a shard")
            sources[name] = held[key]
        return sources

    def _unreadable(
        self,
        rows: NDArray[np.int64],
        sources: Mapping[str, PieceSource],
        bad: Mapping[str, Mapping[int, DataError]],
    ) -> tuple[pl.DataFrame, NDArray[np.bool_]]:
        """Return the unreadable items of each sample, and which samples have one, or nothing to read at all [N]."""
        listed: list[tuple[int, str | None, str | None, str]] = []
        num_pieces = np.zeros(len(rows), np.int64)
        for name, source in sources.items():
            seen = source.select(self.samples.seen(name, rows))
            lengths = source.lengths(seen.number, np.zeros_like(seen.number))
            num_pieces += np.bincount(seen.owner, lengths, minlength=len(rows)).astype(np.int64)
            errors = bad.get(name, {})
            where = {n: Items(self.samples, name, np.array([n]), np.zeros(1))[0].where for n in errors}
            hit = seen.take(np.isin(seen.number, list(errors)))
            for number, owner in zip(hit.number.tolist(), hit.owner.tolist(), strict=True):
                listed.append((owner, name, where[number], str(errors[number])))
        listed += [(owner, None, None, _NOTHING) for owner in np.flatnonzero(num_pieces == 0).tolist()]
        listed.sort(key=lambda line: line[0])
        table = pl.DataFrame(listed, {"sample": pl.Int64, **_LISTED}, orient="row")
        owners = table["sample"].to_numpy()
        doubtful = np.zeros(len(rows), np.bool_)
        doubtful[owners] = True
        subjects, times = (column[rows[owners]] for column in (self.samples.subject_id, self.samples.prediction_time))
        return table.select(pl.Series(SAMPLE[0], subjects), pl.Series(SAMPLE[1], times), *_LISTED), doubtful


def _tabled(member: Package, samples: Samples) -> dict[str, PieceSource]:
    """Return the sources of the modalities that need no preparing."""
    codes = samples.codes().to_list()
    tables = {name: modality.tabulate(codes) for name, modality in member.model.encoders.items()}
    return {name: TabledPieces(samples, name, table) for name, table in tables.items() if table is not None}
