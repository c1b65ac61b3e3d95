"""Births that cannot be right: they are counted and told, because an age is read from them."""

import polars as pl
from meds.schema import birth_code

from clintune.cohort.shards import CODE, SUBJECT, TIME, readable


def read_births(scan: pl.LazyFrame, where: str) -> pl.DataFrame:
    """Return subject and time of the rows of a shard that are births."""
    with readable(where):
        births = scan.filter((pl.col(CODE) == birth_code) & pl.col(TIME).is_not_null()).select(SUBJECT, TIME)
        return births.collect(engine="streaming")


def doubts(births: pl.DataFrame, samples: pl.DataFrame, time: str) -> list[str]:
    """Say how many subjects were born twice, and how many `samples` (subject, `time`) stand before the birth."""
    by_subject = births.group_by(SUBJECT).agg(first=pl.col(TIME).min(), times=pl.col(TIME).n_unique())
    twice = by_subject.filter(pl.col("times") > 1)
    early = samples.join(by_subject, on=SUBJECT).filter(pl.col(time) < pl.col("first"))
    said = []
    if len(twice):
        said.append(
            f"{len(twice)} subjects have births at several times; each counts: keep one row {birth_code} a subject"
        )
    if len(early):
        said.append(f"{len(early)} samples stand before their subject's birth and have no age; correct {birth_code}")
    return said
