"""Facts known at the prediction time: sex, age, a scale's value, smoking, the newest of each."""

import random
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite, sqrt
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import torch
from meds.schema import DataSchema, birth_code
from numpy.typing import NDArray
from torch import Tensor, nn

from clintune.contracts import Item, Pieces
from clintune.core.disclosure import SMALLEST_SHOWN, Having
from clintune.core.seeding import derive_seed
from clintune.modalities.base import Modality, Mode, Strange, checked_floor, has_code
from clintune.modalities.usual import usual_values

_HOURS_PER_YEAR = 24 * 365.25
_CLIP = 5.0
_MOST = 0.5
"""Share of facts without an embedding of their own that is much, where training had rare codes as well."""


class Static(Modality):
    """Facts, each one piece and one token: the embedding of its code, moved by its standardised value.

    Claimed are rows without time, the birth (read as the age in years at the prediction time) and `codes`: exact
    ones, or beginnings that end in `//`. Values are standardised by code and clipped to ±5 deviations, so that a typing
    error cannot drown a patient, nor move the mean and deviation (`usual`); NaN or infinite ones count as absent.

    Codes that fewer than `min_subjects` training subjects have are neither named nor measured: they share one
    embedding, without values, with those never seen in training. Where training has no such code, it is zero. Values
    that fewer than `min_subjects` have are not read.
    Pieces: `code` [P] (0 = the shared one), `value` [P], `has_value` [P].
    """

    def __init__(
        self,
        *,
        codes: list[str] | None = None,
        min_subjects: int = SMALLEST_SHOWN,
        width: int = 64,
        mode: Mode = "full",
        max_pieces: int = 32,
    ) -> None:
        super().__init__(mode=mode, max_pieces=max_pieces, codes=codes)
        self.min_subjects = checked_floor(min_subjects)
        self.width = width

    def claims(self) -> pl.Expr:
        """Claim rows without time, the birth, and rows of the listed codes."""
        return pl.col(DataSchema.time_name).is_null() | has_code([birth_code, *(self.codes or [])])

    def fit(self, items: Iterable[Item]) -> dict[str, Any]:
        """Return mean and deviation of the values of each code that enough training subjects have.

        Both are null where too few have a value, or all have the same. Of other codes only the number is told.
        """
        values: dict[str, array[float]] = {}
        having, measured = Having(self.min_subjects), Having(self.min_subjects)
        for item in items:
            known = values.setdefault(item.code, array("d"))
            value = _value(item)
            having.add(item.code, item.subject)
            if value is not None:
                measured.add(item.code, item.subject)
                known.append(value)

        common = [code for code in sorted(values) if code in having]
        return {
            "codes": {code: _summary(values[code] if code in measured else ()) for code in common},
            "min_subjects": self.min_subjects,
            "num_rare": len(values) - len(common),
        }

    def remarks(self, statistics: Mapping[str, Any]) -> list[str]:
        """Return how many codes share one embedding."""
        number = statistics.get("num_rare", 0)
        if not number:
            return []
        total = number + len(statistics["codes"])
        few = f"fewer than {statistics['min_subjects']} training subjects"
        return [f"{number} of {total} codes have {few} and share one token, without values"]

    def build(self, statistics: Mapping[str, Any]) -> None:
        """Make embeddings for the codes of the statistics."""
        self.statistics: dict[str, dict[str, float | None]] = dict(statistics["codes"])
        self.index = {code: number for number, code in enumerate(self.statistics, start=1)}
        self.shared: bool = statistics.get("num_rare", 0) > 0
        valued = any(known["mean"] is not None for known in self.statistics.values())
        self.encoder: nn.Module = FactEncoder(len(self.index) + 1, self.width, valued=valued, shared=self.shared)
        self.encoder.requires_grad_(self.mode == "full")

    def tabulate(self, codes: Sequence[str]) -> "FactTable":
        """Return how rows become facts: by looking up the code and standardising the value."""
        known = [self.statistics.get(code, {}) for code in codes]
        return FactTable(
            index=np.array([self.index.get(code, 0) for code in codes], np.int64),
            mean=_numbers(part.get("mean") for part in known),
            std=_numbers(part.get("std") for part in known),
            birth=np.array([code == birth_code for code in codes], bool),
        )

    def prepare(self, item: Item, view: int = 0) -> Pieces:
        """Look up the code and standardise the value."""
        value = np.array([np.nan if item.value is None else item.value])
        tensors = self.tabulate([item.code])(np.zeros(1, np.int32), value, np.array([item.hours]))
        return Pieces(tensors=tensors, hours=torch.tensor([item.hours], dtype=torch.float32))

    def strange(self, tensors: Mapping[str, Tensor]) -> dict[str, Strange]:
        """Return how many facts have a code without an embedding of its own, and how many values were clipped.

        Where training had rare codes, too, they are among the first: then only most of the facts are much.
        """
        unknown = tensors["code"] == 0
        valued = tensors["has_value"] > 0
        clipped = valued & (tensors["value"].abs() >= _CLIP)
        codes, values = (int(unknown.sum()), len(unknown)), (int(clipped.sum()), int(valued.sum()))
        not_known = "of the facts have codes that the model does not know"
        far = f"of the values of facts lie more than {_CLIP:.0f} deviations from training"
        rare = {f"{not_known}, or knows as rare": Strange(*codes, much=_MOST)}
        return (rare if self.shared else {not_known: Strange(*codes)}) | {
            f"{far}; look whether units are the same": Strange(*values),
        }

    @property
    def num_facts(self) -> int:
        """Return a value and a mark of presence for each code, and a mark for the codes that share an embedding."""
        return 2 * len(self.index) + self.shared

    def facts(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """Return standardised values, then marks of presence [P, F]."""
        marks = nn.functional.one_hot(tensors["code"], len(self.index) + 1).float()
        present, other = marks[:, 1:], marks[:, : int(self.shared)]
        value = (tensors["value"] * tensors["has_value"]).float()
        return torch.cat([present * value[:, None], present, other], dim=1)

    def encode(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """Encode facts to one token each, [P, 1, W]."""
        encoded: Tensor = self.encoder(tensors["code"], tensors["value"], tensors["has_value"])
        return encoded.unsqueeze(1)

    def settings(self) -> dict[str, Any]:
        """Return what determines the tokens beside the weights."""
        return super().settings() | {"codes": self.codes, "width": self.width}

    @classmethod
    def fake(cls, folder: Path, n: int, seed: int) -> list[Item]:
        """Return births, sexes and values of a scale in turn."""
        draw = random.Random(derive_seed(seed, "fake static"))
        items = []
        for row in range(n):
            where = f"fake.parquet row {row}"
            if row % 3 == 0:
                fact = Item(hours=draw.uniform(20, 90) * _HOURS_PER_YEAR, code=birth_code, where=where)
            elif row % 3 == 1:
                fact = Item(hours=0.0, code=draw.choice(["GENDER//F", "GENDER//M"]), where=where)
            else:
                fact = Item(hours=draw.uniform(0, 99), code="SCALE", where=where, value=draw.gauss(20, 5))
            items.append(replace(fact, subject=row))
        return items


@dataclass(frozen=True)
class FactTable:
    """What to do with the rows of each code: place among the embeddings, moments (NaN: none known), whether a birth."""

    index: NDArray[np.int64]
    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    birth: NDArray[np.bool_]

    def __call__(
        self, code: NDArray[np.int32], value: NDArray[np.floating[Any]], hours: NDArray[np.float64]
    ) -> dict[str, Tensor]:
        """Return `code`, `value` and `has_value` [P] of rows."""
        numbers = np.where(self.birth[code], hours / _HOURS_PER_YEAR, value.astype(np.float64))
        numbers = np.where(np.isfinite(numbers), numbers, np.nan)
        scaled = np.clip((numbers - self.mean[code]) / self.std[code], -_CLIP, _CLIP)
        known = ~np.isnan(scaled)
        return {
            "code": torch.from_numpy(self.index[code]),
            "value": torch.from_numpy(np.where(known, scaled, 0.0).astype(np.float32)),
            "has_value": torch.from_numpy(known.astype(np.float32)),
        }


class FactEncoder(nn.Module):
    """Embed codes, shift each by its value along a direction of its own, and refine by a small residual MLP.

    Without biases, so that code 0 stays exactly zero, unless rare codes are `shared` in it. Where training knows no
    value (not `valued`) there is nothing for values to learn.
    """

    def __init__(self, num_codes: int, width: int, *, valued: bool, shared: bool) -> None:
        super().__init__()
        self.code = nn.Embedding(num_codes, width, padding_idx=None if shared else 0)
        self.slope = nn.Embedding(num_codes, width, padding_idx=0) if valued else None
        self.present = nn.Embedding(num_codes, width, padding_idx=0) if valued else None
        self.mlp = nn.Sequential(nn.Linear(width, width, bias=False), nn.GELU(), nn.Linear(width, width, bias=False))

    def forward(self, code: Tensor, value: Tensor, has_value: Tensor) -> Tensor:
        """Return [P, W]; a value without `has_value` is not read."""
        fact: Tensor = self.code(code)
        if self.slope is not None and self.present is not None:
            fact = fact + has_value.unsqueeze(-1) * (self.present(code) + value.unsqueeze(-1) * self.slope(code))
        return fact + self.mlp(fact)  # type: ignore[no-any-return]


class _Moments(NamedTuple):
    """Running number, mean and sum of squared deviations (Welford, 1962)."""

    number: int
    mean: float
    squares: float

    def add(self, value: float) -> "_Moments":
        number = self.number + 1
        mean = self.mean + (value - self.mean) / number
        return _Moments(number, mean, self.squares + (value - self.mean) * (value - mean))


def _summary(values: Sequence[float]) -> dict[str, float | None]:
    """Return mean and deviation of the usual values, in their order."""
    known = np.array(values, np.float64)
    moments = _Moments(0, 0.0, 0.0)
    for value in known[usual_values(known)].tolist():
        moments = moments.add(value)
    if moments.squares == 0:  # where all are alike, they tell no more than the code
        return {"mean": None, "std": None}
    return {"mean": moments.mean, "std": sqrt(moments.squares / moments.number)}


def _numbers(values: Iterable[float | None]) -> NDArray[np.float64]:
    return np.array([np.nan if value is None else value for value in values], np.float64)


def _value(item: Item) -> float | None:
    value = item.hours / _HOURS_PER_YEAR if item.code == birth_code else item.value
    return value if value is not None and isfinite(value) else None
