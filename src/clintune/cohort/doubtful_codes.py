"""What is doubtful about the codes of a cohort: their values, names, and rows without a time."""

from collections.abc import Callable, Iterator, Mapping

import polars as pl
from meds.schema import birth_code

from clintune.cohort.sentinels import SENTINELS, have_sentinels
from clintune.cohort.shards import CODE, NAN, NUMBER, TIME
from clintune.core.text import first_few, spelled_alike

_BINS = 10
"""The number of bins that a tenfold range of values has."""
_APART = 5.0
"""The ratio of neighbouring values that parts two groups."""
_DISTINCT = 8
"""The number of different values that make a group: doses and scores have fewer."""
_GROUP = 0.05
"""The share of the values that makes a group."""
_ZEROS = 0.01
"""The share of zeros above which they are reported."""

_value = pl.col(NUMBER)
_is_other = _value.is_finite() & ~_value.is_in(pl.Series(SENTINELS, dtype=pl.Float32).implode())

Common = Callable[[set[str]], set[str]]
"""Returns those of some codes that enough subjects have, so that a name tells of no one person."""


def queries(scan: pl.LazyFrame) -> dict[str, pl.LazyFrame]:
    """Return the queries to a shard, by name."""
    counts = {str(number): (_value == number).sum() for number in SENTINELS}

    # Values by size: in bins of their logarithm.
    positive = scan.filter(_is_other & (_value > 0)).select(CODE, NUMBER)
    size = (_value.log10() * _BINS).floor().cast(pl.Int32).alias("size")

    return {
        "codes": scan.group_by(CODE).agg(
            rows=pl.len(),
            untimed=pl.col(TIME).is_null().sum(),
            nan=pl.col(NAN).sum(),
            infinite=_value.is_infinite().sum(),
            known=_value.is_finite().sum(),
            zeros=(_value == 0).sum(),
            least=_value.filter(_is_other).min(),
            most=_value.filter(_is_other).max(),
            **counts,
        ),
        "sizes": positive.group_by(CODE, size).agg(
            number=pl.len(), distinct=_value.n_unique(), low=_value.min(), high=_value.max()
        ),
    }


def told(found: Mapping[str, pl.DataFrame], common: Common) -> Iterator[str]:
    """Yield a sentence for each doubt about what the queries `found`."""
    codes, sizes = _over_shards(found["codes"]), _by_size(found["sizes"])
    if number := codes["infinite"].sum():
        yield f"{number} values of {NUMBER} are infinite and count as absent"

    # Each doubt with the codes that it is about.
    alike = [code for group in spelled_alike(codes[CODE]) for code in group]
    marked, zeros = _with_sentinels(codes), _with_zeros(codes, sizes)
    doubts = {
        "NaN as every value, which counts as absent": _without_values(codes),
        "values as -1, -999 or 9999, far from all others; write null where one is missing": marked,
        "zeros far from all other values; write null where one is missing": zeros,
        "values in two groups far apart; look whether all are in one unit": _in_two_groups(sizes),
        "rows with and rows without a time; every sample sees the latter": _partly_timed(codes),
        "names that differ in case or spaces alone, and count as different codes": alike,
    }

    # Only codes of enough subjects are named.
    named = common({code for part in doubts.values() for code in part})
    for said, part in doubts.items():
        if part:
            yield f"{_listed(part, named)} {said}"


def _over_shards(codes: pl.DataFrame) -> pl.DataFrame:
    """Return one row for each code, over all shards."""
    counts = ["rows", "untimed", "nan", "infinite", "known", "zeros", *map(str, SENTINELS)]
    totals = (pl.col(counts).sum(), pl.col("least").min(), pl.col("most").max())
    return codes.group_by(CODE).agg(totals).sort(CODE)


def _by_size(sizes: pl.DataFrame) -> pl.DataFrame:
    """Return one row for each code and size, in order, with the counts of what lies below it.

    `distinct` is a lower bound: the most different values that one shard has.
    """
    merged = sizes.group_by(CODE, "size").agg(
        pl.col("number").sum(), pl.col("distinct").max(), pl.col("low").min(), pl.col("high").max()
    )
    number, distinct = pl.col("number"), pl.col("distinct")
    return merged.sort(CODE, "size").with_columns(
        gap=pl.col("low") / pl.col("high").shift(1).over(CODE),
        below=(number.cum_sum() - number).over(CODE),
        total=number.sum().over(CODE),
        distinct_below=(distinct.cum_sum() - distinct).over(CODE),
        all_distinct=distinct.sum().over(CODE),
    )


def _without_values(codes: pl.DataFrame) -> list[str]:
    return _names(codes.filter((pl.col("nan") > 0) & (pl.col("known") == 0)))


def _with_sentinels(codes: pl.DataFrame) -> list[str]:
    counts = codes.select(list(map(str, SENTINELS))).to_numpy()
    known = codes.with_columns(pl.col("least", "most").cast(pl.Float64).fill_null(float("nan")))
    ends = (known[name].to_numpy() for name in ("least", "most"))
    return _names(codes.filter(have_sentinels(counts, *ends)))


def _with_zeros(codes: pl.DataFrame, sizes: pl.DataFrame) -> list[str]:
    """Return codes with zeros that are ten times as far from other values as these lie apart."""
    others = sizes.group_by(CODE).agg(
        pl.col("low").min(),
        pl.col("high").max(),
        pl.col("distinct").sum(),
        values=pl.col("number").sum(),
    )
    step = (pl.col("high") - pl.col("low")) / pl.col("distinct")
    has_many = pl.col("distinct") >= _DISTINCT
    is_far = (pl.col("least") == 0) & (pl.col("low") > 10 * step) & has_many
    is_frequent = (pl.col("zeros") > 1) & (pl.col("zeros") > _ZEROS * pl.col("known"))
    return _names(codes.join(others, on=CODE).filter(is_far & is_frequent))


def _in_two_groups(sizes: pl.DataFrame) -> list[str]:
    """Return codes whose values, ordered by size, have a gap with many different ones around it."""
    total, below = pl.col("total"), pl.col("below")
    many = (below >= _GROUP * total) & (total - below >= _GROUP * total)
    distinct_below = pl.col("distinct_below")
    distinct_above = pl.col("all_distinct") - distinct_below
    differing = (distinct_below >= _DISTINCT) & (distinct_above >= _DISTINCT)
    return _names(sizes.filter((pl.col("gap") >= _APART) & many & differing))


def _partly_timed(codes: pl.DataFrame) -> list[str]:
    untimed, is_birth = pl.col("untimed"), pl.col(CODE) == birth_code
    partly = (untimed > 0) & (untimed < pl.col("rows"))
    return _names(codes.filter(partly & ~is_birth))


def _names(codes: pl.DataFrame) -> list[str]:
    names: list[str] = codes[CODE].unique().sort().to_list()
    return names


def _listed(codes: list[str], common: set[str]) -> str:
    """Return `2 codes (A, B) have`; a code that few subjects have is not named."""
    names = first_few([repr(code) for code in codes if code in common], len(codes))
    return f"1 code ({names}) has" if len(codes) == 1 else f"{len(codes)} codes ({names}) have"
