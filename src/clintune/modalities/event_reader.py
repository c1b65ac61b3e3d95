"""From rows of codes and values to pieces: an event each, and what is older than the budget summed up by code."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import polars as pl
import torch
from meds.schema import DataSchema, birth_code
from numpy.typing import NDArray
from scipy.special import ndtri

from clintune.contracts import PieceBatch, RowColumns
from clintune.modalities.base import claimed
from clintune.modalities.code_texts import text_vectors
from clintune.modalities.event_statistics import fit_events, prefixes_of
from clintune.modalities.rows import RowReader, newest_rows

FACTS = ("value", "has_value", "change", "has_change", "since", "times")
"""What is known of an event: its normal score, the change from the event of its code before, the log hours since that
one, and the log of how many of its code there were so far."""
SPREAD = ("first", "last", "least", "greatest")
"""Of several events of a code that stand together: normal scores; of a single event, its own."""
CLIP = 4.0
"""Normal scores beyond it are typing errors, and read as it."""

Floats = NDArray[np.float32]


class EventReader(RowReader):
    """Looks up the codes of rows with a time, the birth and texts left out, and scores their values.

    Pieces: `code` [P], the place of the longest known beginning of the code (0: none is known); `facts` [P, 6] in the
    order of FACTS; `spread` [P, 4] in that of SPREAD; `count` [P], how many events a piece stands for; `older` [P],
    whether it sums up those of a code that the budget leaves out; with `code_text`, `text` [P, 64] of the code's words.
    """

    sums_up: ClassVar[bool] = True

    def __init__(
        self,
        *,
        max_pieces: int,
        codes: Sequence[str] | None = None,
        min_subjects: int,
        code_text: bool = False,
    ) -> None:
        super().__init__(max_pieces=max_pieces, codes=codes, min_subjects=min_subjects)
        self.code_text = code_text

    def row_filter(self) -> pl.Expr:
        """Take rows with a time and without text, the birth left out, of the listed codes where there is a list."""
        return timed_rows(self.codes)

    def fit(self, chunks: Iterable[RowColumns], codes: Sequence[str]) -> dict[str, Any]:
        """Return what `fit_events` does."""
        return fit_events(chunks, codes, self.min_subjects)

    def open(self, statistics: Mapping[str, Any]) -> None:
        """Give a place to each known code, then to each known prefix; 0 is for all others."""
        self.known: dict[str, dict[str, list[float]]] = dict(statistics["codes"])
        self.names = [*self.known, *statistics["prefixes"]]
        self.place = {name: number for number, name in enumerate(self.names, start=1)}

    def look_up(self, codes: Sequence[str]) -> None:
        """Find the place of each code and the knots of its values."""
        found = (
            next((self.place[name] for name in [code, *prefixes_of(code)] if name in self.place), 0)
            for code in codes
        )
        self.place_of = np.fromiter(found, np.int64, len(codes))
        scales = [
            scale_of(self.known[code]["knots"]) if code in self.known else ([], [])
            for code in codes
        ]
        most = max((len(knots) for knots, _ in scales), default=0)
        self.knots, self.scores = np.full((2, len(codes), most), np.inf)
        for number, (knots, scores) in enumerate(scales):
            self.knots[number, : len(knots)] = knots
            self.scores[number, : len(scores)] = scores
        self.num_knots = np.array([len(knots) for knots, _ in scales], np.int64)
        self.texts = text_vectors(codes) if self.code_text else None

    def preprocess_rows(self, rows: RowColumns) -> PieceBatch:
        """Return a piece for each of the newest rows of a sample, and for each code among its older ones."""
        recent = newest_rows(rows, self.max_pieces)
        score = self.normal_scores(rows)
        single = self._single(rows.take(recent), score[recent])
        if recent.all():
            return single
        summed = self._summed(rows.take(~recent), score[~recent])

        order = torch.argsort(torch.cat([summed.owner, single.owner]), stable=True)
        return PieceBatch(
            tensors={
                name: torch.cat([summed.tensors[name], part])[order]
                for name, part in single.tensors.items()
            },
            hours=torch.cat([summed.hours, single.hours])[order],
            owner=torch.cat([summed.owner, single.owner])[order],
        )

    def normal_scores(self, rows: RowColumns) -> Floats:
        """Return where each value stands among the training values of its code [R], NaN without value or scale."""
        number = self.num_knots[rows.code]
        score = np.full(len(rows), np.nan, np.float32)
        asked = np.flatnonzero((number > 1) & np.isfinite(rows.value))
        code, value = rows.code[asked], rows.value[asked].astype(np.float64)

        above = (self.knots[code] <= value[:, None]).sum(1)
        after = np.clip(above, 1, number[asked] - 1)  # beyond the ends their own slope goes on
        x0, x1 = self.knots[code, after - 1], self.knots[code, after]
        z0, z1 = self.scores[code, after - 1], self.scores[code, after]
        score[asked] = np.clip(z0 + (value - x0) / (x1 - x0) * (z1 - z0), -CLIP, CLIP)
        return score

    def _single(self, rows: RowColumns, score: Floats) -> PieceBatch:
        """Return one piece a row."""
        value, known = np.nan_to_num(score), ~np.isnan(score)
        order, first = groups(rows.owner, rows.code)
        start = np.flatnonzero(first)
        place = np.arange(len(order)) - np.repeat(start, np.diff(start, append=len(order)))
        before = np.where(first, order, np.roll(order, 1))

        changed = known[order] & known[before] & ~first
        change = np.where(changed, value[order] - value[before], 0)
        since = np.log1p(np.maximum(rows.hours[before] - rows.hours[order], 0))
        facts = np.empty((len(rows), len(FACTS)), np.float32)
        facts[order, 2:] = np.stack([change, changed, since, np.log1p(place + 1)], axis=1)
        facts[:, 0], facts[:, 1] = value, known
        return self._pieces(
            rows,
            facts,
            np.repeat(value[:, None], len(SPREAD), axis=1),
            np.ones(len(rows)),
            older=False,
        )

    def _summed(self, rows: RowColumns, score: Floats) -> PieceBatch:
        """Return one piece for each owner and code: mean values and hours, by how many events each stands for."""
        order, first = groups(rows.owner, rows.code)
        start = np.flatnonzero(first)
        count = np.diff(start, append=len(order))
        score = score[order]
        known = ~np.isnan(score)
        valued = np.add.reduceat(known, start, dtype=np.float64)

        mean = np.add.reduceat(np.where(known, score, 0), start, dtype=np.float64) / np.maximum(
            valued, 1
        )
        least = np.minimum.reduceat(np.where(known, score, np.inf), start)
        greatest = np.maximum.reduceat(np.where(known, score, -np.inf), start)
        place = np.arange(len(order))
        earliest = score[
            np.minimum.reduceat(np.where(known, place, len(order)), start).clip(max=len(order) - 1)
        ]
        newest = score[np.maximum.reduceat(np.where(known, place, 0), start)]
        spread = np.where(
            valued[:, None] > 0, np.stack([earliest, newest, least, greatest], axis=1), 0
        )

        facts = np.zeros((len(start), len(FACTS)), np.float32)
        facts[:, 0], facts[:, 1], facts[:, 5] = mean, valued / count, np.log1p(count)
        hours = np.add.reduceat(rows.hours[order], start) / count
        one = rows.take(order[start])
        summed = RowColumns(code=one.code, value=one.value, hours=hours, owner=one.owner)
        return self._pieces(summed, facts, spread.astype(np.float32), count, older=True)

    def _pieces(
        self, rows: RowColumns, facts: Floats, spread: Floats, count: NDArray[Any], *, older: bool
    ) -> PieceBatch:
        tensors = {
            "code": torch.from_numpy(self.place_of[rows.code]),
            "facts": torch.from_numpy(facts),
            "spread": torch.from_numpy(spread),
            "count": torch.from_numpy(count.astype(np.float32)),
            "older": torch.full((len(rows),), older),
        }
        if self.texts is not None:
            tensors["text"] = torch.from_numpy(self.texts[rows.code])
        hours = torch.from_numpy(rows.hours.astype(np.float32))
        return PieceBatch(tensors=tensors, hours=hours, owner=torch.from_numpy(rows.owner))


def timed_rows(codes: Sequence[str] | None) -> pl.Expr:
    """Return an expression that is true for rows with a time and without text, the birth left out, of these codes."""
    timed = (
        pl.col(DataSchema.time_name).is_not_null() & pl.col(DataSchema.text_value_name).is_null()
    )
    return claimed(timed & (pl.col(DataSchema.code_name) != birth_code), codes)


def scale_of(knots: Sequence[float]) -> tuple[list[float], list[float]]:
    """Return distinct knots and their normal scores; equal knots share the mean of theirs."""
    scores = ndtri((np.arange(len(knots)) + 0.5) / max(len(knots), 1))
    distinct, group = np.unique(np.asarray(knots, np.float64), return_inverse=True)
    means = np.bincount(group, scores) / np.bincount(group) if len(knots) else scores
    return distinct.tolist(), means.tolist()


def groups(
    owner: NDArray[np.int64], code: NDArray[np.int32]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return an order [R] that puts rows of one owner and code side by side, oldest first, and marks each first."""
    key = owner * (int(code.max(initial=0)) + 1) + code
    order = np.argsort(key, kind="stable")
    first = np.ones(len(key), bool)
    first[1:] = key[order][1:] != key[order][:-1]
    return order, first
