"""What is doubtful about the rows of a cohort: counted and told, never refused, because some of it may be meant."""

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import timedelta

import polars as pl
from meds.schema import birth_code

from clintune.cohort.shards import CODE, NAN, NUMBER, SUBJECT, TEXT, TIME, count_subjects, readable
from clintune.core.disclosure import SMALLEST_SHOWN
from clintune.core.sentinels import SENTINELS, have_sentinels
from clintune.core.text import spelled_alike, visible

_YEAR = timedelta(days=365)
_FAR = 80
"""Years from the middle of all rows; shifted dates of one cohort span 110."""
_OLDEST = 120
_COPIES = 0.01
"""Share of rows that stand more than once above which it is told: some records do repeat."""
_NAMED = 3

_value = pl.col(NUMBER)
_is_birth = pl.col(CODE) == birth_code
_is_other = _value.is_finite() & ~_value.is_in(pl.Series(SENTINELS, dtype=pl.Float32).implode())


class Doubts:
    """Counts, shard by shard, what looks like a slip: times, births, values, codes, and rows that stand twice."""

    def __init__(self) -> None:
        self._scans: list[tuple[pl.LazyFrame, str]] = []
        self._parts: dict[str, list[pl.DataFrame]] = {name: [] for name in ("births", "months", "last", "codes")}
        self._before_birth = 0
        self._claimed = 0
        self._copies = 0

    def add(self, scan: pl.LazyFrame, where: str) -> None:
        """Count the rows of a shard; no subject stands in two."""
        births = scan.filter(_is_birth & pl.col(TIME).is_not_null()).select(SUBJECT, TIME)
        dated = scan.filter(~_is_birth & pl.col(TIME).is_not_null())
        born = births.group_by(SUBJECT).agg(born=pl.col(TIME).min())
        early = dated.join(born, on=SUBJECT).filter(pl.col(TIME) < pl.col("born") - _YEAR)
        month = (pl.col(TIME).dt.year().alias("year"), pl.col(TIME).dt.month().alias("month"))

        queries = {
            "births": births,
            "months": dated.group_by(month).agg(rows=pl.len()),
            "last": dated.group_by(SUBJECT).agg(last=pl.col(TIME).max()),
            "codes": scan.group_by(CODE).agg(
                nan=pl.col(NAN).sum(),
                infinite=_value.is_infinite().sum(),
                known=_value.is_finite().sum(),
                least=_value.filter(_is_other).min(),
                most=_value.filter(_is_other).max(),
                **{str(number): (_value == number).sum() for number in SENTINELS},
            ),
        }
        with readable(where):
            *found, num_early = pl.collect_all([*queries.values(), early.select(pl.len())], engine="streaming")
        for parts, part in zip(self._parts.values(), found, strict=True):
            parts.append(part)
        self._before_birth += num_early.item()
        self._scans.append((scan, where))

    def add_claimed(self, rows: pl.DataFrame) -> None:
        """Count how many of the rows that a modality reads stand more than once."""
        content = rows.select(SUBJECT, TIME, CODE, NUMBER, TEXT, "path")
        self._claimed += len(rows)
        self._copies += len(rows) - content.hash_rows().n_unique()

    def told(self, samples: pl.DataFrame, time: str) -> list[str]:
        """Return a sentence for each doubt; `samples` have a subject and a `time`."""
        births, months, last, codes = (pl.concat(parts) for parts in self._parts.values())
        return [*_of_births(births, samples, time), *self._of_rows(), *_of_months(months),
                *_of_staleness(last, samples, time), *self._of_codes(codes)]  # fmt: skip

    def _of_rows(self) -> Iterator[str]:
        if self._before_birth:
            early = f"{self._before_birth} rows are dated more than a year before their subject's birth"
            yield f"{early}; correct the times"
        if self._copies > _COPIES * self._claimed:
            yield (
                f"{self._copies} of {self._claimed} rows repeat another one, with its time, code and value; drop the "
                "copies, unless they are meant"
            )

    def _of_codes(self, codes: pl.DataFrame) -> Iterator[str]:
        """Yield what is said of values and of the names of codes."""
        sentinels = list(map(str, SENTINELS))
        sums = pl.col("nan", "infinite", "known", *sentinels).sum()
        codes = codes.group_by(CODE).agg(sums, pl.col("least").min(), pl.col("most").max()).sort(CODE)
        if number := codes["infinite"].sum():
            yield f"{number} values of {NUMBER} are infinite and count as absent"

        nothing = codes.filter((pl.col("nan") > 0) & (pl.col("known") == 0))[CODE].to_list()
        least, most = (codes[name].cast(pl.Float64).fill_null(float("nan")).to_numpy() for name in ("least", "most"))
        marked = codes.filter(have_sentinels(codes.select(sentinels).to_numpy(), least, most))[CODE].to_list()
        alike = [code for group in spelled_alike(codes[CODE]) for code in group]
        common = self._common({*nothing, *marked, *alike})
        if nothing:
            yield f"{_named(nothing, common)} NaN as every value, which counts as absent"
        if marked:
            yield (
                f"{_named(marked, common)} values as -999 or 9999, far from all others; write null where one is missing"
            )
        if alike:
            yield f"{_named(alike, common)} names that differ in case or spaces alone, and count as different codes"

    def _common(self, codes: set[str]) -> set[str]:
        """Return those of some codes that enough subjects have, so that naming one tells of nobody."""
        counts: Counter[str] = Counter()
        for scan, where in self._scans if codes else ():
            counts.update(count_subjects(scan.filter(pl.col(CODE).is_in(sorted(codes))), where))
        return {code for code, count in counts.items() if count >= SMALLEST_SHOWN}


def _of_births(births: pl.DataFrame, samples: pl.DataFrame, time: str) -> Iterator[str]:
    """Yield how many subjects were born twice, and how many samples have no age or one that nobody reaches."""
    by_subject = births.group_by(SUBJECT).agg(born=pl.col(TIME).min(), times=pl.col(TIME).n_unique())
    twice = by_subject.filter(pl.col("times") > 1)
    aged = samples.join(by_subject, on=SUBJECT)
    early = aged.filter(pl.col(time) < pl.col("born"))
    old = aged.filter(pl.col(time) > pl.col("born") + _OLDEST * _YEAR)
    if len(twice):
        yield f"{len(twice)} subjects have births at several times; each counts: keep one row {birth_code} a subject"
    if len(early):
        yield f"{len(early)} samples stand before their subject's birth and have no age; correct {birth_code}"
    if len(old):
        yield f"{len(old)} samples are of subjects older than {_OLDEST} years; correct {birth_code}"


def _of_months(months: pl.DataFrame) -> Iterator[str]:
    """Yield how many rows lie where small numbers do that were taken for times, and how many far from all others."""
    months = months.group_by("year", "month").agg(pl.col("rows").sum()).sort("year", "month")
    total = months["rows"].sum()
    if not total:
        return
    middle = months.filter(pl.col("rows").cum_sum() * 2 >= total)["year"][0]
    small = (pl.col("year") == 1970) & (pl.col("month") == 1)
    if middle != 1970 and (number := months.filter(small)["rows"].sum()):
        yield f"{number} of {total} rows are dated January 1970, as small numbers taken for times are; correct them"
    far = ~small & ((pl.col("year") - middle).abs() > _FAR)
    if number := months.filter(far)["rows"].sum():
        yield f"{number} of {total} rows are dated more than {_FAR} years from {middle}, the middle; correct the times"


def _of_staleness(last: pl.DataFrame, samples: pl.DataFrame, time: str) -> Iterator[str]:
    """Yield how many samples stand long after all that is known of their subject."""
    stale = samples.join(last, on=SUBJECT).filter(pl.col(time) > pl.col("last") + _YEAR)
    if len(stale):
        yield (
            f"{len(stale)} of {len(samples)} samples stand more than a year after the last row of their subject; look "
            "whether both times are of one clock"
        )


def _named(codes: Iterable[str], common: set[str]) -> str:
    """Return `2 codes (A, B) have`; a code that few subjects have is not named."""
    listed = list(codes)
    named = [visible(repr(code)) for code in listed if code in common][:_NAMED]
    names = ", ".join([*named, *["..."][: len(named) < len(listed)]])
    return f"1 code ({names}) has" if len(listed) == 1 else f"{len(listed)} codes ({names}) have"
