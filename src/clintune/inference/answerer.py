"""Answers of the members of a model: each item is read once, held in memory, then forgotten."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clintune.cohort.samples import Items, Samples
from clintune.core.errors import DataError, PackageError
from clintune.core.files import value_sha256
from clintune.experiment.fold_data import Unreadable, check_readable, reason_alone
from clintune.features.cache_key import cache_key
from clintune.features.columnar import ColumnarPieces, columnar
from clintune.features.pieces import Known, PieceSource
from clintune.features.preprocess import WORTH_A_WORKER, PreprocessWorkers, hold_pieces
from clintune.inference.answers import Answers, SampleProblem, Settings
from clintune.inference.forward import Predicted, predict_member
from clintune.layers.precision import resolve_precision
from clintune.modalities.base import Modality, item_reader
from clintune.package.contents import Package
from clintune.tasks.calibration import Calibration

_MANY = 100
"""Number of samples without a finite answer after which scoring stops."""
_NOTHING = "there is nothing of this sample to read"
_EVERYTHING = "everything"

FindPieces = Callable[[Items, int], Known]
"""Finds the pieces of the first views of items that were computed before."""
Finder = Callable[[str, Modality, Mapping[str, object], str], FindPieces]
"""Returns the `FindPieces` of a modality, by name, statistics and precision."""


class _Reader(NamedTuple):
    """The workers that preprocess the items of a modality, and the pieces that are known."""

    preprocess: PreprocessWorkers
    known: FindPieces


class Answerer:
    """The answers of the members of a model to samples, averaged and then calibrated by task."""

    def __init__(
        self,
        members: Sequence[Package],
        calibrations: Mapping[str, Calibration],
        samples: Samples,
        settings: Settings,
        find: Finder | None = None,
    ) -> None:
        self.members = members
        self.calibrations = calibrations
        self.samples = samples
        self.settings = settings
        self.tabled = [_tabled(member, samples) for member in members]
        """Sources of the modalities that need no preprocessing, of each member."""
        self._find = find or _find_nothing
        self._readers: dict[str, _Reader] = {}

    def answer(self, rows: NDArray[np.int64]) -> Answers:
        """Answer the samples `rows`.

        A sample with an unreadable item, or without any item, is answered from the rest of its
        data, and abstained from. So is one whose answer is not finite. Raises DataError where more
        than `max_bad_fraction` of a modality's items cannot be read, and PackageError where none of
        many answers is finite.
        """
        held: dict[str, PieceSource] = {}
        bad: dict[str, dict[int, DataError]] = {}
        predicted: list[Predicted] = []

        for member, tabled in zip(self.members, self.tabled, strict=True):
            sources = self._sources(member, tabled, rows, held, bad)
            predicted.append(self._predict(member, sources, rows))

        # Average over the members and calibrate, task by task.
        raw, calibrated, abstained, not_finite = {}, {}, {}, {}
        for name, calibration in self.calibrations.items():
            together = not self.members[0].tasks[name].parts
            mean = np.mean([part[name] for part in predicted], axis=0)
            with np.errstate(all="ignore"):  # numbers may not be finite
                applied = calibration.apply(mean)

            raw[name], _ = only_finite(mean, together)
            calibrated[name], not_finite[name] = only_finite(applied, together)
            abstained[name] = calibration.abstains(calibrated[name])
            if len(rows) >= _MANY and not_finite[name].all():
                raise never_finite(name)

        # Abstain from samples with a problem.
        num_pieces = self._num_pieces(rows, sources)
        problems = self._problems(rows, sources, bad, num_pieces, not_finite)
        doubtful = np.zeros(len(rows), np.bool_)
        doubtful[[problem.sample for problem in problems]] = True
        return Answers(
            raw=raw,
            calibrated=calibrated,
            abstained={name: part | doubtful[:, None] for name, part in abstained.items()},
            not_finite=not_finite,
            lacks={name: number == 0 for name, number in num_pieces.items()},
            problems=problems,
        )

    def _predict(
        self,
        member: Package,
        sources: Mapping[str, PieceSource],
        rows: NDArray[np.int64],
    ) -> Predicted:
        found = predict_member(
            member,
            sources,
            self.samples,
            rows,
            {_EVERYTHING: frozenset(member.model.modalities)},
            batch_size=self.settings.batch_size,
            precision=self._precision(member),
        )
        return found[_EVERYTHING]

    def _precision(self, member: Package) -> str:
        """Return the precision that is asked for, or else that of the member."""
        asked = self.settings.precision
        return resolve_precision(member.config.trainer.precision if asked is None else asked)

    def _sources(
        self,
        member: Package,
        tabled: Mapping[str, PieceSource],
        rows: NDArray[np.int64],
        held: dict[str, PieceSource],
        bad: dict[str, dict[int, DataError]],
    ) -> dict[str, PieceSource]:
        """Return the source of the pieces of each modality.

        Pieces that members share are computed once and kept in `held`; `bad` gets the errors of
        unreadable items.
        """
        sources: dict[str, PieceSource] = {}
        for name, modality in member.model.encoders.items():
            if name in tabled:
                sources[name] = tabled[name]
                continue

            learned, computed = member.statistics[name], self._precision(member)
            key = value_sha256([name, cache_key(modality, learned, computed)])
            if key not in held:
                held[key], bad[name] = self._hold(key, member, name, self.samples.items(name, rows))
            sources[name] = held[key]
        return sources

    def _hold(
        self,
        key: str,
        member: Package,
        name: str,
        items: Items,
    ) -> tuple[PieceSource, dict[int, DataError]]:
        """Return the pieces of items in memory, and the errors of unreadable ones.

        Raises DataError where too many items are unreadable.
        """
        # Start the workers, once for a modality and its statistics.
        modality, computed = member.model.encoders[name], self._precision(member)
        if key not in self._readers:
            workers = min(self.settings.workers, len(items) // WORTH_A_WORKER)
            find = self._find(name, modality, member.statistics[name], computed)
            preprocess = PreprocessWorkers(self.samples, name, item_reader(modality), workers)
            self._readers[key] = _Reader(preprocess, find)
        reader = self._readers[key]

        # Preprocess the items that nobody computed before.
        views = modality.reader.views if member.config.model.average_views else 1
        device = member.model.queries.device
        known = reader.known(items, views)
        settings = (modality, views, computed, device, known)
        pieces, errors = hold_pieces(reader.preprocess, items, *settings)

        # Stop where too many cannot be read.
        where = self._where(name, errors)
        unreadable = [_unreadable(name, where[number], error) for number, error in errors.items()]
        check_readable(
            unreadable,
            len(items),
            self.settings.max_bad_fraction,
            self.settings.listed,
            self.settings.what,
        )
        return pieces, errors

    def _where(self, name: str, numbers: Iterable[int]) -> dict[int, str]:
        """Return the row of each item of a modality, by the number of the item."""
        found = np.array(list(numbers), np.int64)
        items = Items(self.samples, name, found, np.zeros(len(found)))
        return {number: items[place].where for place, number in enumerate(found.tolist())}

    def _num_pieces(
        self,
        rows: NDArray[np.int64],
        sources: Mapping[str, PieceSource],
    ) -> dict[str, NDArray[np.int64]]:
        """Return the number of pieces of each sample [N], by modality."""
        counts = {}
        for name, source in sources.items():
            seen = source.select(self.samples.seen(name, rows))
            counts[name] = source.num_pieces(seen, len(rows))
        return counts

    def _problems(
        self,
        rows: NDArray[np.int64],
        sources: Mapping[str, PieceSource],
        bad: Mapping[str, Mapping[int, DataError]],
        num_pieces: Mapping[str, NDArray[np.int64]],
        not_finite: Mapping[str, NDArray[np.bool_]],
    ) -> list[SampleProblem]:
        """Return the problems of samples, sorted by sample."""
        # Items that cannot be read.
        found: list[SampleProblem] = []
        for name, errors in bad.items():
            where = self._where(name, errors)
            seen = sources[name].select(self.samples.seen(name, rows))
            hit = seen.take(np.isin(seen.number, list(errors)))
            for number, owner in zip(hit.number.tolist(), hit.owner.tolist(), strict=True):
                reason = reason_alone(errors[number])
                found.append(SampleProblem(owner, name, where[number], reason))

        # Samples without any item.
        nothing = np.sum(list(num_pieces.values()), axis=0) == 0
        owners = np.flatnonzero(nothing).tolist()
        found += [SampleProblem(owner, None, None, _NOTHING) for owner in owners]

        # Answers that are not finite.
        for name, samples in not_finite.items():
            reason = f"the answer for {name} is not a finite number"
            owners = np.flatnonzero(samples).tolist()
            found += [SampleProblem(owner, None, None, reason) for owner in owners]
        return sorted(found, key=lambda problem: problem.sample)


def only_finite(
    predicted: NDArray[np.float32],
    together: bool,
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return predictions [N, P] with NaN for values that are not finite, and their samples [N].

    Columns that belong `together`, as classes that exclude each other, are all known or all
    unknown.
    """
    finite = np.isfinite(predicted)
    if together:
        finite[:] = finite.all(axis=1, keepdims=True)
    kept: NDArray[np.float32] = np.where(finite, predicted, np.float32(np.nan))
    broken: NDArray[np.bool_] = np.any(~finite, axis=1)
    return kept, broken


def never_finite(task: str) -> PackageError:
    """Return the error of a model that gives no finite answer to a task for any sample."""
    return PackageError(
        f"tasks.{task}: the model answers with a finite number for no sample; its weights, its "
        "calibration or the data are broken: load the package anew, and check the values of the "
        "cohort"
    )


def _tabled(member: Package, samples: Samples) -> dict[str, ColumnarPieces]:
    """Return the sources of the modalities that need no preprocessing."""
    found = {
        name: columnar(samples, name, modality) for name, modality in member.model.encoders.items()
    }
    return {name: source for name, source in found.items() if source is not None}


def _find_nothing(
    name: str,
    modality: Modality,
    statistics: Mapping[str, object],
    precision: str,
) -> FindPieces:
    return lambda items, views: Known()


def _unreadable(modality: str, row: str, error: DataError) -> Unreadable:
    return {"modality": modality, "row": row, "reason": reason_alone(error)}
