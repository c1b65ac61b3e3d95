"""Find differences between cohorts that should be alike: codes of facts, and units of values."""

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
"""Two cohorts may be coded differently if they share less than this part of the fewer codes."""
_APART = 5
"""Units may differ if the medians of a code differ by this factor or more."""


def between_cohorts(samples: Samples, names: Iterable[str]) -> Iterator[str]:
    """Yield a sentence for each two cohorts that code, or measure, a modality differently.

    `names` are the modalities whose facts are compared.
    """
    if len(samples.indexes) < 2:
        return
    for name in names:
        for one, other in combinations(_measured(samples, name), 2):
            yield from _codes_apart(name, one, other)
            yield from _units_apart(name, one, other)


class _Measured(NamedTuple):
    """A cohort, and what was measured of each code of its facts."""

    cohort: str
    codes: pl.DataFrame
    """Of each code: its `name`, the median `middle` of its values, how many `subjects` have one."""


def _measured(samples: Samples, name: str) -> Iterator[_Measured]:
    """Yield each cohort with the codes that its samples see of a modality; each row counts once."""
    known = pl.DataFrame({"name": samples.codes()}).with_row_index(CODE).cast({CODE: pl.Int32})
    bounds = zip(samples.first[:-1], samples.first[1:], strict=True)
    for index, (first, stop) in zip(samples.indexes, bounds, strict=True):
        items = samples.items(name, np.arange(first, stop))
        columns = {
            CODE: samples.column(name, CODE, items.numbers),
            "value": samples.column(name, NUMBER, items.numbers),
            "subject": items.subjects,
        }

        # Median of the finite values of each code, and how many subjects have one.
        rows = pl.DataFrame(columns)
        value = pl.when(pl.col("value").is_finite()).then("value")
        subjects = pl.col("subject").filter(pl.col("value").is_finite()).n_unique()
        codes = (
            rows.group_by(CODE).agg(middle=value.median(), subjects=subjects).join(known, on=CODE)
        )
        yield _Measured(index.name, codes)


def _codes_apart(name: str, one: _Measured, other: _Measured) -> Iterator[str]:
    """Yield a sentence if two cohorts hardly share a code."""
    fewer = min(len(one.codes), len(other.codes))
    shared = len(one.codes.join(other.codes, on=CODE, how="semi"))
    if fewer and shared < _SHARED * fewer:
        yield (
            f"{name}: cohorts {one.cohort} and {other.cohort} share {shared} of the {fewer} codes "
            "of the smaller one; look whether both are coded alike, or map one to the other"
        )


def _units_apart(name: str, one: _Measured, other: _Measured) -> Iterator[str]:
    """Yield a sentence on codes whose values are far apart in two cohorts.

    Codes with values of fewer than 11 subjects of a cohort are not compared.
    """
    known = [part.codes.filter(pl.col("subjects") >= SMALLEST_SHOWN) for part in (one, other)]
    ratio = pl.col("middle") / pl.col("middle_right")
    apart = known[0].join(known[1], on=CODE).with_columns(times=pl.max_horizontal(ratio, 1 / ratio))
    far = apart.filter(pl.col("times").is_finite(), pl.col("times") >= _APART).sort(
        "times", CODE, descending=True
    )
    if far.is_empty():
        return

    # Say how many they are, and name the first.
    named = first_few(far["name"].to_list())
    has = "1 code has" if len(far) == 1 else f"{len(far)} codes have"
    up_to = "up to " if len(far) > 1 else ""
    yield (
        f"{name}: {has} values in cohorts {one.cohort} and {other.cohort} that are "
        f"{up_to}{far['times'][0]:,.0f} times apart in the middle ({named}); "
        "look whether units are the same"
    )
