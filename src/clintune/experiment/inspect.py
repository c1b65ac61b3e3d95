"""Inspect the data before training: read some samples, look for all media files."""

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
from clintune.modalities.base import item_reader
from clintune.modalities.readers import ItemReader
from clintune.storage.remote import is_remote

NUM_SAMPLES = 200
NUM_ITEMS = 400
"""Most items of each modality that are read."""
NUM_READ = 64
"""Samples whose rows a reader of columns is tried on."""
_MANY_BLANK = 0.05
"""Share of blank items among those read above which a sentence says so."""

Errors = dict[int, str]
"""What is wrong with items, by item number."""


class Lengths:
    """How many pieces each item of a modality gives: known if it was read, 1 for all others."""

    def __init__(self, num_items: int) -> None:
        self.known = np.ones(num_items, np.int64)
        self.more = np.zeros(num_items, np.int64)
        self.begin, self.end = np.zeros((2, num_items))
        self.contents = np.full(num_items, -1)

    def select(self, seen: VisibleItems) -> VisibleItems:
        """Return all items."""
        return seen

    def lengths(self, number: NDArray[np.int64], view: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return how many pieces of each item are kept [I]."""
        return self.known[number]

    def num_pieces(self, seen: VisibleItems, num_samples: int) -> NDArray[np.int64]:
        """Return how many pieces are kept of the items of each sample [N]."""
        lengths = self.known[seen.number]
        return np.bincount(seen.owner, lengths, minlength=num_samples).astype(np.int64)

    def left_out(self, number: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return how many more pieces each item has [I]."""
        return self.more[number]

    def content(self, number: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return a number that items of equal pieces share [I]; -1 for items that were not read."""
        return self.contents[number]

    def beyond(self, seen: VisibleItems) -> Beyond:
        """Return the hours of each item, and those after the prediction time that sees it [I]."""
        return hours_beyond(self.begin[seen.number], self.end[seen.number], seen.hours)


def missing_media(experiment: Experiment) -> dict[str, Errors]:
    """Return, by modality, the items of labelled samples whose media file does not exist.

    Nothing is looked for if a cohort is on another machine. Raises DataError if more are missing
    than `data.max_bad_fraction` allows.
    """
    missing: dict[str, Errors] = {}
    if any(is_remote(cohort.root) for cohort in experiment.config.cohorts.values()):
        return missing

    samples = experiment.samples
    rows = np.flatnonzero(samples.labelled())
    for name, modality in experiment.modalities.items():
        if modality.reader.media_column is None:
            continue

        items = samples.items(name, rows)
        paths = [path for _, found in items.paths() for path in found]
        absent = {path for path in set(paths) if not path.is_file()}
        numbered = zip(items.numbers.tolist(), paths, strict=True)
        missing[name] = {number: why_absent(path) for number, path in numbered if path in absent}
        _check(experiment, name, missing[name], len(items))
    return missing


def inspect_samples(
    experiment: Experiment, rows: NDArray[np.int64], missing: Mapping[str, Errors]
) -> tuple[Limits, dict[str, Counted]]:
    """Read some of the samples `rows`, drawn by the run's seed.

    Returns what they lose, and the lengths of the items of each modality; `missing` holds the items
    known to be missing. Modalities are built. Raises DataError if what was read is enough to refuse
    the cohort, as training would.
    """
    # Draw samples.
    samples, modalities = experiment.samples, experiment.modalities
    random = np.random.default_rng(derive_seed(experiment.config.seed, "look"))
    drawn = np.sort(random.permutation(rows)[:NUM_SAMPLES])

    # Read their items.
    sources: dict[str, Counted] = {}
    warnings: list[str] = []
    for name, modality in modalities.items():
        rows_of = columnar(samples, name, modality)
        if rows_of is not None:
            sources[name] = rows_of
            few = rows_of.select(samples.seen(name, drawn[:NUM_READ]))
            rows_of.read(few, np.zeros_like(few.number), modality.reader.max_pieces)
            continue

        sources[name], errors, said = _read(
            samples, name, item_reader(modality), drawn, missing.get(name, {})
        )
        _check(experiment, name, errors, len(samples.items(name, rows)))
        warnings += said

    limits = measure(samples, drawn, modalities, sources, experiment.config.backbone.max_tokens)
    limits.drawn = len(drawn) < len(rows)
    limits.warnings += warnings
    return limits, sources


def _read(
    samples: Samples, name: str, reader: ItemReader, rows: NDArray[np.int64], missing: Errors
) -> tuple[Lengths, Errors, list[str]]:
    """Read items that the samples `rows` see.

    Returns the length of each item, what is wrong with items, and sentences on them.
    """
    lengths, errors, num_blank = Lengths(samples.num_rows(name)), dict(missing), 0
    numbers = [n for n in samples.items(name, rows).numbers.tolist() if n not in errors][:NUM_ITEMS]
    preprocess = PreprocessWorkers(samples, name, reader)
    preprocessed = preprocess([View(number, 0) for number in numbers])

    # Note what each item gives.
    for number, pieces in zip(numbers, preprocessed, strict=True):
        if isinstance(pieces, DataError):
            errors[number] = str(pieces)
        else:
            lengths.known[number] = len(pieces)
            lengths.more[number] = pieces.left_out
            lengths.begin[number], lengths.end[number] = pieces.extent
            lengths.contents[number] = _content(pieces)
            num_blank += reader.is_blank(pieces)
    lengths.known[list(errors)] = 0

    # Say what is suspect.
    num_read = len(numbers) - len(errors.keys() & set(numbers))
    said = list(_blank_words(name, num_blank, num_read))
    if errors:
        said.append(
            f"{name}: "
            f"{len(errors)} items are missing or cannot be read, of those that were looked at"
        )
    return lengths, errors, said


def _blank_words(modality: str, num_blank: int, num_read: int) -> Iterator[str]:
    """Yield a sentence if many of the items that were read show next to nothing."""
    if num_blank >= SMALLEST_SHOWN and num_blank > _MANY_BLANK * num_read:
        yield (
            f"{modality}: {in_percent(num_blank, num_read)} of the items looked at are of nearly "
            "one shade; look whether they are what they should be"
        )


def _content(pieces: Pieces) -> int:
    """Return a number that equal pieces share; their times do not count."""
    digest = sha256()
    for name, tensor in sorted(pieces.tensors.items()):
        digest.update(f"{name} {list(tensor.shape)}".encode() + tensor.numpy().tobytes())
    return int.from_bytes(digest.digest()[:7])


def _check(experiment: Experiment, modality: str, errors: Errors, num_items: int) -> None:
    """Refuse, as training would, a modality with too many unreadable items, and list them."""
    numbers = np.array(sorted(errors), np.int64)
    bad = [
        {"modality": modality, "row": item.where, "reason": reason_alone(errors[item.number])}
        for item in Items(experiment.samples, modality, numbers, np.zeros(len(numbers)))
    ]
    most = experiment.config.data.max_bad_fraction
    check_readable(bad, num_items, most, experiment.cache / UNREADABLE)
