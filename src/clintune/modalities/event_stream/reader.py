"""The reader of events: a piece per row within the budget, and a piece per code for older rows."""

import random
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import polars as pl
import torch
from meds.schema import DataSchema, birth_code
from numpy.typing import NDArray
from scipy.special import ndtri
from torch import Tensor

from clintune.contracts import Item, PieceBatch, RowColumns
from clintune.core.seeding import derive_seed
from clintune.modalities.code_texts import text_vectors
from clintune.modalities.event_stream.statistics import fit_events, prefixes_of
from clintune.modalities.readers import of_codes
from clintune.modalities.rows import RowReader, Strange, newest_rows, strange_codes

FACTS = ("value", "has_value", "change", "has_change", "since", "times")
"""The facts of an event.

`value` is its normal score, `change` the difference to the previous event of its code, `since` the
log hours since that event, `times` the log of how many events of its code there were so far.
"""
SPREAD = ("first", "last", "least", "greatest")
"""Normal scores among the events of a code that one piece sums up; of a single event, its own."""
_CLIP = 4.0
"""Normal scores beyond it are typing errors; they are clipped to it."""
_FAKE_CODES = [("LAB//LACTATE//mmol/L", 1.5), ("VITAL//HR", 80.0), ("DRUG//HEPARIN", None)]
"""Made-up codes, each with the mean of its values."""

Floats = NDArray[np.float32]


class EventReader(RowReader):
    """A reader that looks up the codes of rows with a time and scores their values.

    It leaves out the birth and texts. Pieces:

    - `code` [P]: the number of the longest known prefix of the code (0: none is known);
    - `facts` [P, 6] in the order of FACTS; `spread` [P, 4] in the order of SPREAD;
    - `count` [P]: how many events a piece stands for;
    - `older` [P]: whether the piece sums up the events of a code beyond the budget;
    - `text` [P, 64] of the code's words, only with `code_text`.
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
        """Select rows with a time, without text, except the birth; of `codes` unless it is None."""
        return timed_rows(self.codes)

    def fit(self, chunks: Iterable[RowColumns], codes: Sequence[str]) -> dict[str, Any]:
        """Return the statistics of `fit_events`."""
        return fit_events(chunks, codes, self.min_subjects)

    def open(self, statistics: Mapping[str, Any]) -> None:
        """Number the known codes, then the known prefixes; 0 is for all others."""
        self.known: dict[str, dict[str, list[float]]] = dict(statistics["codes"])
        self.names = [*self.known, *statistics["prefixes"]]
        self.place = {name: number for number, name in enumerate(self.names, start=1)}
        self.shared: bool = statistics.get("num_rare", 0) > 0

    def remarks(self, statistics: Mapping[str, Any]) -> list[str]:
        """Return how many codes are read as their prefixes."""
        number = statistics.get("num_rare", 0)
        if not number:
            return []
        few = f"fewer than {statistics['min_subjects']} training subjects"
        codes = f"{number} of {number + len(statistics['codes'])} codes"
        return [f"{codes} have {few} and are read as their beginnings, without values"]

    def look_up(self, codes: Sequence[str]) -> None:
        """Find the number of each code and the knots of its values."""
        self.place_of = np.fromiter(map(self._find_place, codes), np.int64, len(codes))

        # Tables of knots and of their scores [C, most], padded with infinity.
        scales = [self._find_scale(code) for code in codes]
        most = max((len(knots) for knots, _ in scales), default=0)
        self.knots, self.scores = np.full((2, len(codes), most), np.inf)
        for number, (knots, scores) in enumerate(scales):
            self.knots[number, : len(knots)] = knots
            self.scores[number, : len(scores)] = scores
        self.num_knots = np.array([len(knots) for knots, _ in scales], np.int64)
        self.texts = text_vectors(codes) if self.code_text else None

    def _find_place(self, code: str) -> int:
        """Return the number of a code or of its longest known prefix, else 0."""
        names = [code, *prefixes_of(code)]
        return next((self.place[name] for name in names if name in self.place), 0)

    def _find_scale(self, code: str) -> tuple[list[float], list[float]]:
        """Return the knots of a code and their scores, none of an unknown code."""
        return scale_of(self.known[code]["knots"]) if code in self.known else ([], [])

    def preprocess_rows(self, rows: RowColumns) -> PieceBatch:
        """Return a piece per row among a sample's newest, and a piece per code of its older rows.

        The newest `max_pieces` rows have a piece each.
        """
        recent = newest_rows(rows, self.max_pieces)
        score = self.normal_scores(rows)
        single = self._single(rows.take(recent), score[recent])
        if recent.all():
            return single
        summed = self._summed(rows.take(~recent), score[~recent])

        # Put both together, each sample's summed pieces before its single ones.
        order = torch.argsort(torch.cat([summed.owner, single.owner]), stable=True)
        tensors = {
            name: torch.cat([summed.tensors[name], part])[order]
            for name, part in single.tensors.items()
        }
        return PieceBatch(
            tensors=tensors,
            hours=torch.cat([summed.hours, single.hours])[order],
            owner=torch.cat([summed.owner, single.owner])[order],
        )

    def normal_scores(self, rows: RowColumns) -> Floats:
        """Return each value's normal score among the training values of its code [R].

        NaN stands where the row has no value or its code has no scale.
        """
        number = self.num_knots[rows.code]
        score = np.full(len(rows), np.nan, np.float32)
        asked = np.flatnonzero((number > 1) & np.isfinite(rows.value))
        code, value = rows.code[asked], rows.value[asked].astype(np.float64)

        # Interpolate between the two knots around a value. Beyond the ends their slope goes on.
        above = (self.knots[code] <= value[:, None]).sum(1)
        after = np.clip(above, 1, number[asked] - 1)
        x0, x1 = self.knots[code, after - 1], self.knots[code, after]
        z0, z1 = self.scores[code, after - 1], self.scores[code, after]
        score[asked] = np.clip(z0 + (value - x0) / (x1 - x0) * (z1 - z0), -_CLIP, _CLIP)
        return score

    def _single(self, rows: RowColumns, score: Floats) -> PieceBatch:
        """Return a piece per row."""
        value, known = np.nan_to_num(score), ~np.isnan(score)

        # The previous event of the same owner and code, and how many there were before.
        order, first = groups(rows.owner, rows.code)
        start = np.flatnonzero(first)
        place = np.arange(len(order)) - np.repeat(start, np.diff(start, append=len(order)))
        before = np.where(first, order, np.roll(order, 1))

        # The facts, in the order of FACTS.
        changed = known[order] & known[before] & ~first
        change = np.where(changed, value[order] - value[before], 0)
        since = np.log1p(np.maximum(rows.hours[before] - rows.hours[order], 0))
        facts = np.empty((len(rows), len(FACTS)), np.float32)
        facts[order, 2:] = np.stack([change, changed, since, np.log1p(place + 1)], axis=1)
        facts[:, 0], facts[:, 1] = value, known

        spread = np.repeat(value[:, None], len(SPREAD), axis=1)
        return self._pieces(rows, facts, spread, np.ones(len(rows)), older=False)

    def _summed(self, rows: RowColumns, score: Floats) -> PieceBatch:
        """Return a piece per owner and code: its mean value and hours, and its number of events."""
        order, first = groups(rows.owner, rows.code)
        start = np.flatnonzero(first)
        count = np.diff(start, append=len(order))
        score = score[order]
        known = ~np.isnan(score)
        valued = np.add.reduceat(known, start, dtype=np.float64)

        # Mean and spread of the known scores of each group.
        sums = np.add.reduceat(np.where(known, score, 0), start, dtype=np.float64)
        mean = sums / np.maximum(valued, 1)
        least = np.minimum.reduceat(np.where(known, score, np.inf), start)
        greatest = np.maximum.reduceat(np.where(known, score, -np.inf), start)
        place = np.arange(len(order))
        first_known = np.minimum.reduceat(np.where(known, place, len(order)), start)
        earliest = score[first_known.clip(max=len(order) - 1)]
        newest = score[np.maximum.reduceat(np.where(known, place, 0), start)]
        parts = np.stack([earliest, newest, least, greatest], axis=1)
        spread = np.where(valued[:, None] > 0, parts, 0)

        # A piece for each group, at the mean of its hours.
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

    def strange(self, tensors: Mapping[str, Tensor]) -> dict[str, Strange]:
        """Return how many events have unknown codes, and how many values are clipped."""
        count = tensors["count"]
        known = (tensors["code"] > 0) & (tensors["code"] <= len(self.known))
        unknown, total = int(count[~known].sum()), int(count.sum())
        codes = strange_codes("events", unknown, total, rare=self.shared)

        # Clipped values.
        score, valued = tensors["facts"][:, 0], count * tensors["facts"][:, 1]
        values = Strange(int(valued[score.abs() >= _CLIP].sum()), int(valued.sum()))
        far = f"of the values of events lie {_CLIP:.0f} or more deviations from training"
        return {**codes, f"{far}; look whether units are the same": values}

    @classmethod
    def fake(cls, folder: Path, n: int, seed: int) -> list[Item]:
        """Return measurements and drugs."""
        draw = random.Random(derive_seed(seed, "fake events"))
        items = []
        for row in range(n):
            code, mean = draw.choice(_FAKE_CODES)
            value = None if mean is None else draw.gauss(mean, mean / 5)
            hours = round(draw.uniform(0, 48), 2)
            where = f"fake.parquet row {row}"
            items.append(Item(hours=hours, code=code, where=where, value=value, subject=row))
        return items


def timed_rows(codes: Sequence[str] | None) -> pl.Expr:
    """Return an expression that is true for rows with a time, without text, except the birth.

    Unless `codes` is None, it is true for their rows alone.
    """
    timed = pl.col(DataSchema.time_name).is_not_null()
    wordless = pl.col(DataSchema.text_value_name).is_null()
    return of_codes(timed & wordless & (pl.col(DataSchema.code_name) != birth_code), codes)


def scale_of(knots: Sequence[float]) -> tuple[list[float], list[float]]:
    """Return distinct knots and their normal scores; equal knots share the mean of their scores."""
    scores = ndtri((np.arange(len(knots)) + 0.5) / max(len(knots), 1))
    distinct, group = np.unique(np.asarray(knots, np.float64), return_inverse=True)
    means = np.bincount(group, scores) / np.bincount(group) if len(knots) else scores
    return distinct.tolist(), means.tolist()


def groups(
    owner: NDArray[np.int64], code: NDArray[np.int32]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Group rows by owner and code.

    Returns an order [R] that puts the rows of a group side by side, oldest first, and marks [R] of
    the first row of each group, in that order.
    """
    key = owner * (int(code.max(initial=0)) + 1) + code
    order = np.argsort(key, kind="stable")
    first = np.ones(len(key), bool)
    first[1:] = key[order][1:] != key[order][:-1]
    return order, first
