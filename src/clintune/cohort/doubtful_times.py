"""What is doubtful about a cohort's times: births, rows and samples far off, dates for times."""

from collections.abc import Iterator, Mapping
from datetime import time, timedelta

import polars as pl
from meds.schema import birth_code

from clintune.cohort.shards import CODE, SUBJECT, TIME

_YEAR = timedelta(days=365)
_OLDEST = 110
"""The age in years that hardly anybody reaches."""
_FAR = 80
"""The number of years from the middle of all rows; shifted dates of one cohort span 110."""
_MIDNIGHT = 0.2
"""The share of rows at midnight above which dates stand for times."""

_is_birth = pl.col(CODE) == birth_code
_is_dated = pl.col(TIME).is_not_null()


def queries(scan: pl.LazyFrame) -> dict[str, pl.LazyFrame]:
    """Return the queries to a shard, by name."""
    births = scan.filter(_is_birth).select(SUBJECT, TIME)
    dated = scan.filter(~_is_birth & _is_dated)
    born = births.group_by(SUBJECT).agg(born=pl.col(TIME).min())
    early = dated.join(born, on=SUBJECT).filter(pl.col(TIME) < pl.col("born") - _YEAR)
    month = (pl.col(TIME).dt.year().alias("year"), pl.col(TIME).dt.month().alias("month"))
    at_midnight = (pl.col(TIME).dt.time() == time()).sum()

    return {
        "births": births,
        "early": early.select(rows=pl.len()),
        "months": dated.group_by(month).agg(rows=pl.len(), midnight=at_midnight),
        "spans": dated.group_by(SUBJECT).agg(first=pl.col(TIME).min(), last=pl.col(TIME).max()),
    }


def told(found: Mapping[str, pl.DataFrame], samples: pl.DataFrame) -> Iterator[str]:
    """Yield a sentence for each doubt about what the queries `found`.

    `samples` have a subject and a time.
    """
    yield from _of_births(found["births"], samples)
    if number := found["early"]["rows"].sum():
        said = f"{number} rows are dated more than a year before their subject's birth"
        yield f"{said}; correct the times"
    yield from _of_months(found["months"])
    yield from _of_midnights(found["months"], samples)
    yield from _of_spans(found["spans"], samples)


def _of_births(births: pl.DataFrame, samples: pl.DataFrame) -> Iterator[str]:
    """Yield how many births have no time or several, and how many samples an impossible age."""
    if number := births[TIME].null_count():
        yield f"{number} rows {birth_code} have no time, so that nobody has an age by them; give it"

    by_subject = births.group_by(SUBJECT).agg(
        born=pl.col(TIME).min(), times=pl.col(TIME).n_unique()
    )
    twice = by_subject.filter(pl.col("times") > 1)
    if len(twice):
        several = f"{len(twice)} subjects have births at several times"
        yield f"{several}; each counts: keep one row {birth_code} a subject"

    # Ages at the samples.
    aged = samples.join(by_subject, on=SUBJECT)
    early = aged.filter(pl.col(TIME) < pl.col("born"))
    if len(early):
        before = f"{len(early)} samples stand before their subject's birth and have no age"
        yield f"{before}; correct {birth_code}"

    old = aged.filter(pl.col(TIME) > pl.col("born") + _OLDEST * _YEAR)
    if len(old):
        yield f"{len(old)} samples are of subjects older than {_OLDEST} years; correct {birth_code}"


def _of_months(months: pl.DataFrame) -> Iterator[str]:
    """Yield how many rows have dates of small numbers taken for times, and how many are far off."""
    months = months.group_by("year", "month").agg(pl.col("rows").sum()).sort("year", "month")
    total = months["rows"].sum()
    if not total:
        return

    middle = months.filter(pl.col("rows").cum_sum() * 2 >= total)["year"][0]
    small = (pl.col("year") == 1970) & (pl.col("month") == 1)
    if middle != 1970 and (number := months.filter(small)["rows"].sum()):
        yield (
            f"{number} of {total} rows are dated January 1970, as small numbers taken for times "
            "are; correct them"
        )

    # Dates far from the middle of all.
    far = ~small & ((pl.col("year") - middle).abs() > _FAR)
    if number := months.filter(far)["rows"].sum():
        yield (
            f"{number} of {total} rows are dated more than {_FAR} years from {middle}, the middle; "
            "correct the times"
        )


def _of_midnights(months: pl.DataFrame, samples: pl.DataFrame) -> Iterator[str]:
    """Yield how many rows stand at midnight, where prediction times tell more than days."""
    total, number = int(months["rows"].sum()), int(months["midnight"].sum())
    tell_days = (samples[TIME].dt.time() == time()).sum() * 2 > len(samples)
    if number > _MIDNIGHT * total and not tell_days:
        yield (
            f"{number} of {total} rows are dated midnight, as days without a time are: "
            "a sample sees what comes later on its day; give the times, or the end of the day"
        )


def _of_spans(spans: pl.DataFrame, samples: pl.DataFrame) -> Iterator[str]:
    """Yield how many samples stand long after, or before, all dated rows of their subject."""
    joined = samples.join(spans, on=SUBJECT)
    stale = joined.filter(pl.col(TIME) > pl.col("last") + _YEAR)
    ahead = joined.filter(pl.col(TIME) < pl.col("first"))

    remedy = "look whether both times are of one clock"
    if len(stale):
        said = f"{len(stale)} of {len(samples)} samples stand more than a year after the last row"
        yield f"{said} of their subject; {remedy}"
    if len(ahead):
        said = f"{len(ahead)} of {len(samples)} samples stand before the first dated row"
        yield f"{said} of their subject, births apart; {remedy}"
