"""Facts known at the prediction time, the newest of each: sex, age, smoking, a scale's value."""

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from math import sqrt
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import polars as pl
import torch
from meds.schema import DataSchema, birth_code
from numpy.typing import NDArray
from torch import Tensor, nn

from clintune.contracts import Item, PieceBatch, RowColumns
from clintune.core.disclosure import SMALLEST_SHOWN
from clintune.core.seeding import derive_seed
from clintune.modalities.base import Modality, Mode
from clintune.modalities.readers import has_code
from clintune.modalities.rows import RowReader, Strange, newest_rows, num_subjects, strange_codes
from clintune.modalities.usual import usual_values

Values = NDArray[np.float64]

_HOURS_PER_YEAR = 24 * 365.25
_CLIP = 5.0


class Static(Modality):
    """Facts, each one piece and one token: its code's embedding, moved by its standardised value.

    It reads rows without time, the birth (as the age in years at the prediction time) and `codes`:
    exact ones, or prefixes that end in `//`. Values are standardised by code and clipped to ±5
    deviations, so that a typing error cannot drown a patient. It cannot move mean and deviation
    either (`usual`). NaN and infinite values count as absent.

    Statistics do not name or measure codes that fewer than `min_subjects` training subjects have.
    These codes share one embedding, without values, with codes never seen in training. Where
    training has no such code, that embedding is zero. Values that fewer than `min_subjects` have
    are not read. Pieces: `code` [P] (0: the shared one), `value` [P], `has_value` [P].
    """

    reader: "FactReader"

    def __init__(
        self,
        *,
        codes: list[str] | None = None,
        min_subjects: int = SMALLEST_SHOWN,
        width: int = 64,
        mode: Mode = "full",
        max_pieces: int = 32,
    ) -> None:
        reader = FactReader(codes=codes, min_subjects=min_subjects, max_pieces=max_pieces)
        super().__init__(reader, mode=mode)
        self.width = width

    def build(self, statistics: Mapping[str, Any]) -> None:
        """Make embeddings for the codes of the statistics."""
        self.reader.open(statistics)
        self.index, self.shared = self.reader.index, self.reader.shared
        valued = any(known["mean"] is not None for known in self.reader.statistics.values())
        self.encoder: nn.Module = FactEncoder(
            len(self.index) + 1, self.width, valued=valued, shared=self.shared
        )
        self.encoder.requires_grad_(self.mode == "full")

    @property
    def num_facts(self) -> int:
        """Return F: a value and a mark of presence for each code, and a mark for shared codes."""
        return 2 * len(self.index) + self.shared

    def facts(self, pieces: PieceBatch, num_samples: int) -> Tensor:
        """Return standardised values, then marks of presence [N, F], rows about one in length."""
        tensors = pieces.tensors
        marks = nn.functional.one_hot(tensors["code"], len(self.index) + 1).float()
        present, other = marks[:, 1:], marks[:, : int(self.shared)]
        value = (tensors["value"] * tensors["has_value"]).float()
        facts = torch.cat([present * value[:, None], present, other], dim=1) / sqrt(self.num_facts)
        return facts.new_zeros(num_samples, facts.shape[1]).index_add(0, pieces.owner, facts)

    def encode(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """Encode facts to one token each [P, 1, W]."""
        encoded: Tensor = self.encoder(tensors["code"], tensors["value"], tensors["has_value"])
        return encoded.unsqueeze(1)


class FactReader(RowReader):
    """A reader that looks up the codes of facts and standardises their values."""

    keep: ClassVar[Literal["all", "newest_of_code"]] = "newest_of_code"

    def row_filter(self) -> pl.Expr:
        """Select rows without time, the birth, and rows of the listed codes."""
        return pl.col(DataSchema.time_name).is_null() | has_code([birth_code, *(self.codes or [])])

    def fit(self, chunks: Iterable[RowColumns], codes: Sequence[str]) -> dict[str, Any]:
        """Return mean and deviation of the values of each code that enough training subjects have.

        Both are None where too few subjects have a value, or all have the same value. Other codes
        are counted and not named.
        """
        # Count the subjects of each code, and collect the values.
        birth = np.array([code == birth_code for code in codes], bool)
        having, measured = np.zeros((2, len(codes)), np.int64)
        found: list[tuple[NDArray[np.int32], Values]] = []
        for rows in chunks:
            numbers = _numbers(rows, birth)
            known = np.isfinite(numbers)
            having += num_subjects(rows.code, rows.owner, len(codes))
            measured += num_subjects(rows.code[known], rows.owner[known], len(codes))
            found.append((rows.code[known], numbers[known]))

        # Summarize the codes that enough subjects have.
        values = _by_code(found, len(codes))
        common = np.flatnonzero(having >= self.min_subjects).tolist()
        summaries = {}
        for number in sorted(common, key=codes.__getitem__):
            enough = measured[number] >= self.min_subjects
            summaries[codes[number]] = _summary(values[number] if enough else values[number][:0])

        return {
            "codes": summaries,
            "min_subjects": self.min_subjects,
            "num_rare": int((having > 0).sum()) - len(common),
        }

    def open(self, statistics: Mapping[str, Any]) -> None:
        """Number the codes of the statistics; 0 is all others."""
        self.statistics: dict[str, dict[str, float | None]] = dict(statistics["codes"])
        self.index = {code: number for number, code in enumerate(self.statistics, start=1)}
        self.shared: bool = statistics.get("num_rare", 0) > 0

    def remarks(self, statistics: Mapping[str, Any]) -> list[str]:
        """Return how many codes share one embedding."""
        number = statistics.get("num_rare", 0)
        if not number:
            return []
        total = number + len(statistics["codes"])
        few = f"fewer than {statistics['min_subjects']} training subjects"
        return [f"{number} of {total} codes have {few} and share one token, without values"]

    def look_up(self, codes: Sequence[str]) -> None:
        """Find for each code its embedding, its moments and whether it is the birth.

        Moments are NaN where none are known.
        """
        known = [self.statistics.get(code, {}) for code in codes]
        self.place = np.array([self.index.get(code, 0) for code in codes], np.int64)
        self.mean = np.array([part.get("mean") for part in known], np.float64)
        self.std = np.array([part.get("std") for part in known], np.float64)
        self.birth = np.array([code == birth_code for code in codes], bool)

    def preprocess_rows(self, rows: RowColumns) -> PieceBatch:
        """Return `code`, `value` and `has_value` [P] of the newest rows."""
        rows = rows.take(newest_rows(rows, self.max_pieces))

        # Standardise; a value that is not finite, or of a code without moments, is not read.
        numbers = _numbers(rows, self.birth)
        numbers = np.where(np.isfinite(numbers), numbers, np.nan)
        scaled = np.clip((numbers - self.mean[rows.code]) / self.std[rows.code], -_CLIP, _CLIP)
        known = ~np.isnan(scaled)

        tensors = {
            "code": torch.from_numpy(self.place[rows.code]),
            "value": torch.from_numpy(np.where(known, scaled, 0.0).astype(np.float32)),
            "has_value": torch.from_numpy(known.astype(np.float32)),
        }
        hours = torch.from_numpy(rows.hours.astype(np.float32))
        return PieceBatch(tensors=tensors, hours=hours, owner=torch.from_numpy(rows.owner))

    def strange(self, tensors: Mapping[str, Tensor]) -> dict[str, Strange]:
        """Return how many facts have unknown codes, and how many values were clipped."""
        unknown = tensors["code"] == 0
        codes = strange_codes("facts", int(unknown.sum()), len(unknown), rare=self.shared)

        # Clipped values.
        valued = tensors["has_value"] > 0
        clipped = valued & (tensors["value"].abs() >= _CLIP)
        values = Strange(int(clipped.sum()), int(valued.sum()))
        far = f"of the values of facts lie more than {_CLIP:.0f} deviations from training"
        return {**codes, f"{far}; look whether units are the same": values}

    @classmethod
    def fake(cls, folder: Path, n: int, seed: int) -> list[Item]:
        """Return births, sexes and values of a scale in turn."""
        draw = random.Random(derive_seed(seed, "fake static"))
        items = []
        for row in range(n):
            where = f"fake.parquet row {row}"
            if row % 3 == 0:
                hours = draw.uniform(20, 90) * _HOURS_PER_YEAR
                fact = Item(hours=hours, code=birth_code, where=where)
            elif row % 3 == 1:
                fact = Item(hours=0.0, code=draw.choice(["GENDER//F", "GENDER//M"]), where=where)
            else:
                hours, value = draw.uniform(0, 99), draw.gauss(20, 5)
                fact = Item(hours=hours, code="SCALE", where=where, value=value)

            items.append(replace(fact, subject=row))
        return items


class FactEncoder(nn.Module):
    """An encoder that embeds codes, shifts each by its value, and refines it by a residual MLP.

    A value shifts its code along a direction of its own. There are no biases, so that code 0 stays
    exactly zero, unless rare codes share it (`shared`). Without `valued`, training knows no value,
    and there is nothing for values to learn.
    """

    def __init__(self, num_codes: int, width: int, *, valued: bool, shared: bool) -> None:
        super().__init__()
        self.code = nn.Embedding(num_codes, width, padding_idx=None if shared else 0)
        self.slope = nn.Embedding(num_codes, width, padding_idx=0) if valued else None
        self.present = nn.Embedding(num_codes, width, padding_idx=0) if valued else None
        self.mlp = nn.Sequential(
            nn.Linear(width, width, bias=False), nn.GELU(), nn.Linear(width, width, bias=False)
        )

    def forward(self, code: Tensor, value: Tensor, has_value: Tensor) -> Tensor:
        """Encode facts [P] to [P, W]; a value without `has_value` is not read."""
        fact: Tensor = self.code(code)
        if self.slope is not None and self.present is not None:
            shift = self.present(code) + value.unsqueeze(-1) * self.slope(code)
            fact = fact + has_value.unsqueeze(-1) * shift
        return fact + self.mlp(fact)  # type: ignore[no-any-return]


def _numbers(rows: RowColumns, birth: NDArray[np.bool_]) -> Values:
    """Return the number of each row [R]: its value or, of a birth, the age in years."""
    return np.where(birth[rows.code], rows.hours / _HOURS_PER_YEAR, rows.value.astype(np.float64))


def _by_code(found: Sequence[tuple[NDArray[np.int32], Values]], num_codes: int) -> list[Values]:
    """Return the values of each code, in their order."""
    code = np.concatenate([np.empty(0, np.int32), *(code for code, _ in found)])
    value = np.concatenate([np.empty(0), *(value for _, value in found)])
    ends = np.cumsum(np.bincount(code, minlength=num_codes))[:-1]
    return np.split(value[np.argsort(code, kind="stable")], ends) if num_codes else []


def _summary(values: Values) -> dict[str, float | None]:
    """Return mean and deviation of the usual values.

    They are None without values, and where all are the same and tell no more than the code.
    """
    usual = values[usual_values(values)]
    if not len(usual) or usual.min() == usual.max():
        return {"mean": None, "std": None}
    return {"mean": float(usual.mean()), "std": float(usual.std())}
