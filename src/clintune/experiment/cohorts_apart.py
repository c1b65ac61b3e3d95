"""What tells two cohorts of a run apart that should be alike: the codes of their facts, and the units of the values."""

from collections.abc import Iterable, Iterator
from itertools import combinations
from typing import NamedTuple

import numpy as np
import polars as pl

from clintune.cohort.samples import Samples
from clintune.cohort.shards import CODE, NUMBER
from clintune.core.disclosure import SMALLEST_SHOWN
from clintune.core.text import first_few

_SHARED = 0.1
"""Share of the codes of a cohort below which another that has as few of them is coded in its own way."""
_APART = 5
"""How many times apart the medians of a code are where the units may differ."""


def between_cohorts(samples: Samples, names: Iterable[str]) -> Iterator[str]:
    """Yield where two cohorts name, or measure, the facts of the modalities `names` in ways of their own."""
    if len(samples.indexes) < 2:
        return
    for name in names:
        for one, other in combinations(_measured(samples, name), 2):
            yield from _codes_apart(name, one, other)
            yield from _units_apart(name, one, other)


class _Measured(NamedTuple):
    """A cohort, and of each code of its facts, with its `name`, the `middle` of the values and whose they are.

    `subjects` tells how many have a value.
    """

    cohort: str
    codes: pl.DataFrame


def _measured(samples: Samples, name: str) -> Iterator[_Measured]:
    """Yield each cohort with the codes of what its samples see of a modality, each row once."""
    known = pl.DataFrame({"name": samples.codes()}).with_row_index(CODE).cast({CODE: pl.Int32})
    for index, first, stop in zip(
        samples.indexes, samples.first[:-1], samples.first[1:], strict=True
    ):
        items = samples.items(name, np.arange(first, stop))
        rows = pl.DataFrame(
            {
                CODE: samples.column(name, CODE, items.numbers),
                "value": samples.column(name, NUMBER, items.numbers),
                "subject": items.subjects,
            }
        )
        value = pl.when(pl.col("value").is_finite()).then("value")
        subjects = pl.col("subject").filter(pl.col("value").is_finite()).n_unique()
        codes = (
            rows.group_by(CODE).agg(middle=value.median(), subjects=subjects).join(known, on=CODE)
        )
        yield _Measured(index.name, codes)


def _codes_apart(name: str, one: _Measured, other: _Measured) -> Iterator[str]:
    """Yield that two cohorts hardly share a code."""
    fewer = min(len(one.codes), len(other.codes))
    shared = len(one.codes.join(other.codes, on=CODE, how="semi"))
    if fewer and shared < _SHARED * fewer:
        yield (
            f"{name}: cohorts {one.cohort} and {other.cohort} share {shared} of the {fewer} codes of the smaller one; "
            "look whether both are coded alike, or map one to the other"
        )


def _units_apart(name: str, one: _Measured, other: _Measured) -> Iterator[str]:
    """Yield how many codes have values far apart; what fewer than 11 subjects of a cohort have is not measured."""
    known = [part.codes.filter(pl.col("subjects") >= SMALLEST_SHOWN) for part in (one, other)]
    ratio = pl.col("middle") / pl.col("middle_right")
    apart = known[0].join(known[1], on=CODE).with_columns(times=pl.max_horizontal(ratio, 1 / ratio))
    far = apart.filter(pl.col("times").is_finite(), pl.col("times") >= _APART).sort(
        "times", CODE, descending=True
    )
    if far.is_empty():
        return

    named = first_few(far["name"].to_list())
    has = "1 code has" if len(far) == 1 else f"{len(far)} codes have"
    up_to = "up to " if len(far) > 1 else ""
    yield (
        f"{name}: {has} values in cohorts {one.cohort} and {other.cohort} that are {up_to}{far['times'][0]:,.0f} times "
        f"apart in the middle ({named}); look whether units are the same"
    )
