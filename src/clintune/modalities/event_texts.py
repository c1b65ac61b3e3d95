"""Events as token ids of a text backbone, written like `3.5 h before: LAB//GLUCOSE 8.1`."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from clintune.cohort.arrays import spans
from clintune.contracts import Item, PieceBatch, RowColumns
from clintune.modalities.base import Modality, Mode
from clintune.modalities.event_reader import EventReader, timed_rows
from clintune.modalities.note_readers import load_tokenizer
from clintune.modalities.rows import RowReader
from clintune.weights import resolve

_HOURS_IN_TENTHS = 48
"""Times up to so many hours are written in tenths of hours, longer ones in days."""
_TYPICAL_TOKENS = 12
"""How many tokens an event has, roughly."""


class EventTexts(Modality):
    """Events as token ids of the backbone's own vocabulary, each id one piece of the budget.

    The newest events are kept. `source` is the backbone's, for its tokenizer. Training events teach
    nothing: a code means what its letters say. Pieces: `ids` [P].
    """

    reader: "EventTextReader"
    native = True
    piecewise = False

    def __init__(
        self,
        *,
        source: str,
        revision: str | None = None,
        codes: list[str] | None = None,
        mode: Mode = "frozen",
        max_pieces: int = 448,
    ) -> None:
        super().__init__(EventTextReader(codes=codes, max_pieces=max_pieces), mode=mode)
        self.source = source
        self.revision = revision

    def build(self, statistics: Mapping[str, Any]) -> None:
        """Load the tokenizer; the encoder is the backbone."""
        weights = resolve(self.source, revision=self.revision)
        self.reader.tokenizer = load_tokenizer(weights)
        self.origin = weights.record()

    def token_ids(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """Return the ids [P]."""
        return tensors["ids"]


class _Ragged(NamedTuple):
    """Token ids of several texts one behind the other, and the start and length of each [T]."""

    ids: NDArray[np.int64]
    start: NDArray[np.int64]
    length: NDArray[np.int64]


class EventTextReader(RowReader):
    """A reader that joins the token ids of an event's time, code and value.

    It tokenizes each distinct time and value once per batch, and each code once for all batches.
    """

    tokenizer: PreTrainedTokenizerBase

    def row_filter(self) -> pl.Expr:
        """Select rows with a time, without text, except the birth; of `codes` unless it is None."""
        return timed_rows(self.codes)

    def fit(self, chunks: Iterable[RowColumns], codes: Sequence[str]) -> dict[str, Any]:
        """Learn nothing."""
        return {}

    def look_up(self, codes: Sequence[str]) -> None:
        """Tokenize the codes."""
        self.texts = self._tokenize([f"{code} " for code in codes])

    def preprocess_rows(self, rows: RowColumns) -> PieceBatch:
        """Return the ids of the newest rows that fit whole into each sample's budget."""
        # Tokenize the distinct times and values.
        when, when_of = np.unique(_moments(rows.hours), return_inverse=True)
        value, value_of = np.unique(rows.value, return_inverse=True)
        times = self._tokenize([_when(moment) for moment in when.tolist()])
        values = self._tokenize([_number(number) for number in value.tolist()])

        # Find the rows that fit the budget.
        tables = [times, self.texts, values]
        which = np.stack([when_of, rows.code, value_of])
        columns = [table.length[numbers] for table, numbers in zip(tables, which, strict=True)]
        lengths = np.stack(columns, axis=1)
        kept = np.flatnonzero(_fits(lengths.sum(1), rows.owner, self.max_pieces))

        # Put the three tables one behind the other, and find there the start of each part of a row.
        offsets = np.cumsum([0, *(len(table.ids) for table in tables[:-1])])
        parts = zip(tables, which, offsets, strict=True)
        starts = np.stack([table.start[numbers] + first for table, numbers, first in parts], axis=1)
        places, part = spans(starts[kept].ravel(), lengths[kept].ravel())

        # Gather the ids.
        ids = np.concatenate([table.ids for table in tables])[places]
        row = kept[part // len(tables)]
        hours = torch.from_numpy(rows.hours[row].astype(np.float32))
        return PieceBatch(
            tensors={"ids": torch.from_numpy(ids)},
            hours=hours,
            owner=torch.from_numpy(rows.owner[row]),
        )

    def num_pieces(self, rows: RowColumns, num_samples: int) -> NDArray[np.int64]:
        """Return an estimate of each sample's tokens [N]."""
        return _TYPICAL_TOKENS * super().num_pieces(rows, num_samples)

    @classmethod
    def fake(cls, folder: Path, n: int, seed: int) -> list[Item]:
        """Return measurements and drugs."""
        return EventReader.fake(folder, n, seed)

    def _tokenize(self, texts: Sequence[str]) -> _Ragged:
        if not texts:
            nothing = np.empty(0, np.int64)
            return _Ragged(nothing, nothing, nothing)

        found = self.tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]
        length = np.array([len(ids) for ids in found], np.int64)
        ids = np.concatenate([np.array(part, np.int64) for part in found])
        return _Ragged(ids, np.cumsum(length) - length, length)


def _moments(hours: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return hours as whole numbers: tenths of hours up to two days, and from there on days."""
    days = 10 * _HOURS_IN_TENTHS + np.rint(hours / 24)
    return np.where(hours < _HOURS_IN_TENTHS, np.rint(hours * 10), days).astype(np.int64)


def _when(moment: int) -> str:
    """Return in words how long before the prediction a moment was."""
    most = 10 * _HOURS_IN_TENTHS
    return f"{moment / 10:g} h before: " if moment <= most else f"{moment - most} d before: "


def _number(value: float) -> str:
    """Return a value in four digits, nothing where there is none, and the end of its event."""
    return f"{value:.4g};" if np.isfinite(value) else ";"


def _fits(length: NDArray[np.int64], owner: NDArray[np.int64], budget: int) -> NDArray[np.bool_]:
    """Mark the rows [R] that fit their owner's budget together with all newer rows."""
    total = np.cumsum(length)
    since: NDArray[np.int64] = total[np.searchsorted(owner, owner, "right") - 1] - total + length
    return since <= budget
