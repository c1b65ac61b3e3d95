"""Pieces computed from whole columns of the index: nothing is preprocessed or kept on disk."""

from collections.abc import Iterator
from functools import cached_property
from hashlib import sha256

import numpy as np
import torch
from numpy.typing import NDArray

from clintune.cohort.index import VisibleItems
from clintune.cohort.samples import Samples
from clintune.cohort.shards import CODE, NUMBER
from clintune.contracts import PieceBatch, RowColumns
from clintune.features.cuts import Beyond
from clintune.modalities.base import Modality
from clintune.modalities.promises import check_num_pieces, check_piece_batch
from clintune.modalities.rows import RowReader

_TOGETHER = 1_000_000
"""Number of rows of training subjects in a chunk, about."""


def columnar(samples: Samples, name: str, modality: Modality) -> "ColumnarPieces | None":
    """Return the pieces of a modality that reads columns; None for one that reads item by item."""
    if not isinstance(modality.reader, RowReader):
        return None
    return ColumnarPieces(samples, name, modality.reader.numbered(samples.codes().to_list()))


class ColumnarPieces:
    """The pieces that a reader makes of rows; the reader knows the numbers of the codes."""

    def __init__(self, samples: Samples, modality: str, reader: RowReader) -> None:
        self.samples = samples
        self.modality = modality
        self.reader = reader

    def select(self, seen: VisibleItems) -> VisibleItems:
        """Return the items that a sample reads, in order: all, or the newest of each code."""
        if self.reader.keep == "all":
            return seen

        # Each pair of sample and code keeps its last place, which holds the newest row.
        code = self.samples.column(self.modality, CODE, seen.number)
        pair = seen.owner * self._num_codes + code
        newest = len(pair) - 1 - np.unique(pair[::-1], return_index=True)[1]
        newest.sort()
        return seen.take(newest)

    def read(self, seen: VisibleItems, view: NDArray[np.int64], budget: int) -> PieceBatch | None:
        """Return the pieces of each sample; the reader itself spends the budget, in one view."""
        if not len(seen.number):
            return None
        rows = _columns(self.samples, self.modality, seen, seen.owner)
        pieces = self.reader.preprocess_rows(rows)

        summed = self._num_codes if self.reader.sums_up else 0
        check_piece_batch(self.reader, pieces, seen.owner, self.reader.max_pieces + summed)
        return pieces

    def lengths(self, number: NDArray[np.int64], view: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return 1 for every item: any row can be read."""
        return np.ones(len(number), np.int64)

    def num_pieces(self, seen: VisibleItems, num_samples: int) -> NDArray[np.int64]:
        """Return how many pieces each sample has before any budget [N], as the reader says."""
        # Most readers make one piece of each row: then no column need be read.
        if self.reader.makes_one_of_a_row:
            return np.bincount(seen.owner, minlength=num_samples)
        rows = _columns(self.samples, self.modality, seen, seen.owner)
        counts = self.reader.num_pieces(rows, num_samples)
        check_num_pieces(self.reader, counts, num_samples)
        return counts

    def left_out(self, number: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return 0 for every item."""
        return np.zeros(len(number), np.int64)

    def beyond(self, seen: VisibleItems) -> Beyond:
        """Return no hours: a row is no file."""
        none = np.zeros(len(seen.number))
        return Beyond(none, none, none)

    def content(self, number: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return -1 for every item: a row is no document of one subject's own."""
        return np.full(len(number), -1)

    def blank(self, number: int) -> PieceBatch:
        """Return a piece of zeros, at the prediction time, for each of `number` samples."""
        # One row of zeros shows the shapes of the tensors.
        zero = np.zeros(1)
        one = RowColumns(
            code=zero.astype(np.int32),
            value=zero.astype(np.float32),
            hours=zero,
            owner=zero.astype(int),
        )
        made = self.reader.preprocess_rows(one)

        tensors = {
            name: tensor.new_zeros(number, *tensor.shape[1:])
            for name, tensor in made.tensors.items()
        }
        return PieceBatch(tensors=tensors, hours=torch.zeros(number), owner=torch.arange(number))

    @cached_property
    def _num_codes(self) -> int:
        return len(self.samples.codes())


class TrainingRows:
    """The rows that the training samples `rows` see, each once, as the first sample sees it.

    They come in chunks, so that no more than one chunk is in memory. All rows of a subject stand
    in the same chunk.
    """

    def __init__(self, samples: Samples, modality: str, rows: NDArray[np.int64]) -> None:
        self.samples = samples
        self.modality = modality
        self.rows = np.unique(rows)
        self.codes = samples.codes().to_list()
        """The code of each number."""

    def __iter__(self) -> Iterator[RowColumns]:
        """Yield the chunks; the owner of a row is the number of its subject."""
        # A chunk starts where the next million rows begins, moved back to the start of the subject.
        subject = self.samples.subject[self.rows]
        chunk = np.cumsum(self.samples.num_items(self.modality)[self.rows]) // _TOGETHER
        starts = np.flatnonzero(np.diff(chunk, prepend=-1))
        starts = np.unique(np.searchsorted(subject, subject[starts], "left"))

        for part in np.split(self.rows, starts[1:]):
            items = self.samples.items(self.modality, part)
            seen = VisibleItems(items.numbers, items.hours, items.subjects)
            yield _columns(self.samples, self.modality, seen, items.subjects)

    def fingerprint(self) -> str:
        """Return a hash that identifies these rows."""
        digest = sha256("".join(index.fingerprint for index in self.samples.indexes).encode())
        for part in (self.modality.encode(), self.rows.tobytes()):
            digest.update(part)
        return digest.hexdigest()


def _columns(
    samples: Samples, modality: str, seen: VisibleItems, owner: NDArray[np.int64]
) -> RowColumns:
    return RowColumns(
        code=samples.column(modality, CODE, seen.number),
        value=samples.column(modality, NUMBER, seen.number),
        hours=seen.hours,
        owner=owner,
    )
