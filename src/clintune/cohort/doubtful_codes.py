"""What is doubtful about the codes of a cohort: their values, their names, and rows of them without a time."""

from collections.abc import Callable, Iterator, Mapping

import polars as pl
from meds.schema import birth_code

from clintune.cohort.sentinels import SENTINELS, have_sentinels
from clintune.cohort.shards import CODE, NAN, NUMBER, TIME
from clintune.core.text import first_few, spelled_alike

_BINS = 10
"""Bins of a tenfold value."""
_APART = 5.0
"""Factor between neighbouring values that parts two groups."""
_DISTINCT = 8
"""Different values that make a group: doses and scores have fewer."""
_GROUP = 0.05
"""Share of the values that makes a group."""
_ZEROS = 0.01
"""Share of zeros that makes them worth a word."""

_value = pl.col(NUMBER)
_is_other = _value.is_finite() & ~_value.is_in(pl.Series(SENTINELS, dtype=pl.Float32).implode())

Common = Callable[[set[str]], set[str]]
"""Tells those of some codes that enough subjects have, so that naming one tells of nobody."""


def queries(scan: pl.LazyFrame) -> dict[str, pl.LazyFrame]:
    """Return, by name, what is asked of a shard."""
    counts = {str(number): (_value == number).sum() for number in SENTINELS}
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
    """Yield a sentence for each doubt in what was `found`."""
    codes, sizes = _together(found["codes"]), _by_size(found["sizes"])
    if number := codes["infinite"].sum():
        yield f"{number} values of {NUMBER} are infinite and count as absent"

    alike = [code for group in spelled_alike(codes[CODE]) for code in group]
    doubts = {
        "NaN as every value, which counts as absent": _without_values(codes),
        "values as -1, -999 or 9999, far from all others; write null where one is missing": _marked(
            codes
        ),
        "zeros far from all other values; write null where one is missing": _with_zeros(
            codes, sizes
        ),
        "values in two groups far apart; look whether all are in one unit": _in_two_groups(sizes),
        "rows with and rows without a time; every sample sees the latter": _partly_timed(codes),
        "names that differ in case or spaces alone, and count as different codes": alike,
    }
    named = common({code for part in doubts.values() for code in part})
    for said, part in doubts.items():
        if part:
            yield f"{_listed(part, named)} {said}"


def _together(codes: pl.DataFrame) -> pl.DataFrame:
    """Return one row a code, of those of all shards."""
    counts = ["rows", "untimed", "nan", "infinite", "known", "zeros", *map(str, SENTINELS)]
    return (
        codes.group_by(CODE)
        .agg(pl.col(counts).sum(), pl.col("least").min(), pl.col("most").max())
        .sort(CODE)
    )


def _by_size(sizes: pl.DataFrame) -> pl.DataFrame:
    """Return one row a code and size, in order, with what lies below it; `distinct` is what one shard has at least."""
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


def _marked(codes: pl.DataFrame) -> list[str]:
    counts = codes.select(list(map(str, SENTINELS))).to_numpy()
    ends = (
        codes[name].cast(pl.Float64).fill_null(float("nan")).to_numpy()
        for name in ("least", "most")
    )
    return _names(codes.filter(have_sentinels(counts, *ends)))


def _with_zeros(codes: pl.DataFrame, sizes: pl.DataFrame) -> list[str]:
    """Return codes with zeros, whose other values begin ten times as far from them as they lie apart."""
    others = sizes.group_by(CODE).agg(
        pl.col("low").min(),
        pl.col("high").max(),
        pl.col("distinct").sum(),
        values=pl.col("number").sum(),
    )
    step = (pl.col("high") - pl.col("low")) / pl.col("distinct")
    is_far = (
        (pl.col("least") == 0) & (pl.col("low") > 10 * step) & (pl.col("distinct") >= _DISTINCT)
    )
    is_frequent = (pl.col("zeros") > 1) & (pl.col("zeros") > _ZEROS * pl.col("known"))
    return _names(codes.join(others, on=CODE).filter(is_far & is_frequent))


def _in_two_groups(sizes: pl.DataFrame) -> list[str]:
    """Return codes whose values, ordered by size, have a gap with many different ones on both sides."""
    least, total = _GROUP * pl.col("total"), pl.col("total")
    many = (pl.col("below") >= least) & (total - pl.col("below") >= least)
    differing = (pl.col("distinct_below") >= _DISTINCT) & (
        pl.col("all_distinct") - pl.col("distinct_below") >= _DISTINCT
    )
    return _names(sizes.filter((pl.col("gap") >= _APART) & many & differing))


def _partly_timed(codes: pl.DataFrame) -> list[str]:
    untimed = (
        (pl.col("untimed") > 0)
        & (pl.col("untimed") < pl.col("rows"))
        & (pl.col(CODE) != birth_code)
    )
    return _names(codes.filter(untimed))


def _names(codes: pl.DataFrame) -> list[str]:
    names: list[str] = codes[CODE].unique().sort().to_list()
    return names


def _listed(codes: list[str], common: set[str]) -> str:
    """Return `2 codes (A, B) have`; a code that few subjects have is not named."""
    names = first_few([repr(code) for code in codes if code in common], len(codes))
    return f"1 code ({names}) has" if len(codes) == 1 else f"{len(codes)} codes ({names}) have"
