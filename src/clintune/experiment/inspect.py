"""A look at the data before training: some samples read, all media files looked for."""

from collections.abc import Iterator, Mapping
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from clintune.cohort.index import VisibleItems
from clintune.cohort.samples import Items, Samples
from clintune.contracts import Pieces
from clintune.core.disclosure import SMALLEST_SHOWN, in_percent
from clintune.core.errors import DataError
from clintune.core.seeding import derive_seed
from clintune.experiment.fold_data import UNREADABLE, check_readable, reason_alone
from clintune.experiment.limits import Counted, Limits, measure
from clintune.experiment.open import Experiment
from clintune.features.columnar import columnar
from clintune.features.cuts import Beyond, hours_beyond
from clintune.features.preprocess import PreprocessWorkers, View
from clintune.modalities.absent_media import why_absent
from clintune.modalities.base import Modality
from clintune.storage.remote import is_remote

NUM_SAMPLES = 200
NUM_ITEMS = 400
"""Most items of a modality that are read."""
_MANY_BLANK = 0.05
"""Share of the items looked at above which those that show nothing are worth a word."""

Errors = dict[int, str]
"""What is wrong with items, by their number."""


class Lengths:
    """How many pieces the items of a modality give: known of those that were read, 1 for all others."""

    def __init__(self, num_items: int) -> None:
        self.known = np.ones(num_items, np.int64)
        self.more = np.zeros(num_items, np.int64)
        self.begin, self.end = np.zeros((2, num_items))
        self.contents = np.full(num_items, -1)

    def select(self, seen: VisibleItems) -> VisibleItems:
        """Return all items."""
        return seen

    def lengths(self, number: NDArray[np.int64], view: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return how many pieces of items are kept [I]."""
        return self.known[number]

    def left_out(self, number: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return how many pieces more items have [I]."""
        return self.more[number]

    def content(self, number: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return what is one for items of equal pieces [I]; -1 for those that were not read."""
        return self.contents[number]

    def beyond(self, seen: VisibleItems) -> Beyond:
        """Return how many hours items go on after the prediction times that see them, and how many they have [I]."""
        return hours_beyond(self.begin[seen.number], self.end[seen.number], seen.hours)


def missing_media(experiment: Experiment) -> dict[str, Errors]:
    """Return the items of labelled samples whose media file is not there, of cohorts on this machine.

    Raises DataError where there are more than `data.max_bad_fraction` allows.
    """
    samples = experiment.samples
    rows = np.flatnonzero(samples.labelled())
    missing: dict[str, Errors] = {}
    for name, modality in experiment.modalities.items():
        if modality.media_column is None or any(
            is_remote(c.root) for c in experiment.config.cohorts.values()
        ):
            continue
        items = samples.items(name, rows)
        paths = [path for _, found in items.paths() for path in found]
        absent = {path for path in set(paths) if not path.is_file()}
        gone = [
            pair for pair in zip(items.numbers.tolist(), paths, strict=True) if pair[1] in absent
        ]
        missing[name] = {number: why_absent(path) for number, path in gone}
        _check(experiment, name, missing[name], len(items))
    return missing


def inspect_samples(
    experiment: Experiment, rows: NDArray[np.int64], missing: Mapping[str, Errors]
) -> tuple[Limits, dict[str, Counted]]:
    """Read some of the samples `rows`, drawn by the run's seed; return what they lose, and how long their items are.

    Modalities are built. Raises DataError where what was read is enough to refuse the cohort as training would.
    """
    samples, modalities = experiment.samples, experiment.modalities
    random = np.random.default_rng(derive_seed(experiment.config.seed, "look"))
    drawn = np.sort(random.permutation(rows)[:NUM_SAMPLES])

    sources: dict[str, Counted] = {}
    warnings: list[str] = []
    for name, modality in modalities.items():
        rows_of = columnar(samples, name, modality)
        if rows_of is not None:
            sources[name] = rows_of
            continue
        sources[name], errors, said = _read(samples, name, modality, drawn, missing.get(name, {}))
        _check(experiment, name, errors, len(samples.items(name, rows)))
        warnings += said

    limits = measure(samples, drawn, modalities, sources, experiment.config.backbone.max_tokens)
    limits.drawn = len(drawn) < len(rows)
    limits.warnings += warnings
    return limits, sources


def _read(
    samples: Samples, name: str, modality: Modality, rows: NDArray[np.int64], missing: Errors
) -> tuple[Lengths, Errors, list[str]]:
    """Read items that the samples `rows` see; return how long they are, what is wrong, and what to say of them."""
    lengths, errors, num_blank = Lengths(samples.num_rows(name)), dict(missing), 0
    numbers = [n for n in samples.items(name, rows).numbers.tolist() if n not in errors][:NUM_ITEMS]
    prepared = PreprocessWorkers(samples, name, modality)([View(number, 0) for number in numbers])

    for number, pieces in zip(numbers, prepared, strict=True):
        if isinstance(pieces, DataError):
            errors[number] = str(pieces)
        else:
            lengths.known[number] = len(pieces)
            lengths.more[number] = pieces.left_out
            lengths.begin[number], lengths.end[number] = pieces.extent
            lengths.contents[number] = _content(pieces)
            num_blank += modality.is_blank(pieces)
    lengths.known[list(errors)] = 0

    num_read = len(numbers) - len(errors.keys() & set(numbers))
    said = list(_blank_words(name, num_blank, num_read))
    if errors:
        said.append(
            f"{name}: {len(errors)} items are missing or cannot be read, of those that were looked at"
        )
    return lengths, errors, said


def _blank_words(modality: str, num_blank: int, num_read: int) -> Iterator[str]:
    """Yield that many of the items that were read show next to nothing."""
    if num_blank >= SMALLEST_SHOWN and num_blank > _MANY_BLANK * num_read:
        yield (
            f"{modality}: {in_percent(num_blank, num_read)} of the items looked at are of nearly one shade; look "
            "whether they are what they should be"
        )


def _content(pieces: Pieces) -> int:
    """Return a number that equal pieces share, whatever their times."""
    digest = sha256()
    for name, tensor in sorted(pieces.tensors.items()):
        digest.update(f"{name} {list(tensor.shape)}".encode() + tensor.numpy().tobytes())
    return int.from_bytes(digest.digest()[:7])


def _check(experiment: Experiment, modality: str, errors: Errors, num_items: int) -> None:
    """Refuse, as training would, a modality of which too many items are known to be unreadable; list them."""
    numbers = np.array(sorted(errors), np.int64)
    bad = [
        {"modality": modality, "row": item.where, "reason": reason_alone(errors[item.number])}
        for item in Items(experiment.samples, modality, numbers, np.zeros(len(numbers)))
    ]
    check_readable(
        bad, num_items, experiment.config.data.max_bad_fraction, experiment.cache / UNREADABLE
    )
