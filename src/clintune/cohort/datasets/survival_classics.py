"""Import tables that survival methods are compared on: SUPPORT2, GBSG and FLCHAIN, and MGUS2 with two ends.

What came after the prediction, or says how somebody else predicted, is in no list of inputs, and so never read: in
SUPPORT2 costs, length of stay, orders not to resuscitate, scores and forecasts of models and physicians, and a scale
with filled gaps; in FLCHAIN the cause of death.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from clintune.cohort.datasets.facts import (
    CATEGORY,
    DAYS_PER_MONTH,
    FLOAT,
    write_folds,
    write_outcome,
    write_people,
)
from clintune.cohort.datasets.raw import numbers, only, read_either
from clintune.cohort.writer import BOOLEAN
from clintune.config.suggest import nearest
from clintune.core.errors import ConfigError

_R_SURVIVAL = "https://cran.r-project.org/package=survival"
_NOT_KNOWN = ("NA",)


@dataclass(frozen=True)
class _Set:
    """Where a set is, and which of its columns are what.

    `ends` are (kind, column of the time, column of whether it was seen); one that stands before another ends the
    follow-up wherever both were seen. `unit_days` is how many days the unit of the times has.
    """

    home: str
    ends: Sequence[tuple[str, str, str]]
    measured: Sequence[str]
    classes: Sequence[str]
    unit_days: float = 1.0


_SETS = {
    "support2": _Set(
        home="https://archive.ics.uci.edu/dataset/880/support2",
        ends=[("death", "d.time", "death")],
        measured=[
            "age", "num.co", "edu", "scoma", "hday", "meanbp", "wblc", "hrt", "resp", "temp", "pafi", "alb", "bili",
            "crea", "sod", "ph", "glucose", "bun", "urine", "adlp", "adls",
        ],
        classes=["sex", "dzgroup", "dzclass", "income", "race", "diabetes", "dementia", "ca"],
    ),
    "gbsg": _Set(
        home=_R_SURVIVAL,
        ends=[("recurrence", "rfstime", "status")],
        measured=["age", "size", "grade", "nodes", "pgr", "er"],
        classes=["meno", "hormon"],
    ),
    "flchain": _Set(
        home=_R_SURVIVAL,
        ends=[("death", "futime", "death")],
        measured=["age", "sample.yr", "kappa", "lambda", "flc.grp", "creatinine"],
        classes=["sex", "mgus"],
    ),
    "mgus2": _Set(
        home=_R_SURVIVAL,
        ends=[("progression", "ptime", "pstat"), ("death", "futime", "death")],
        measured=["age", "dxyr", "hgb", "creat", "mspike"],
        classes=["sex"],
        unit_days=DAYS_PER_MONTH,
    ),
}  # fmt: skip


def import_survival_classic(root: Path, raw: Path, name: str) -> None:
    """Write the cohort of one set to `root` from `NAME.parquet` or `NAME.csv` in `raw`; label: survival, in days.

    Where two ends compete, the label has the kind of the one that came, null where none was seen. Subjects are numbered
    in the order of the rows, from 1. Raises ConfigError for an unknown set, DataError for a file, column or cell that
    cannot be read.
    """
    if name not in _SETS:
        raise ConfigError(f"name: there is no set '{name}'{nearest(name, _SETS)}")
    chosen = _SETS[name]
    outcome = [column for _, *pair in chosen.ends for column in pair]
    path, table = read_either(
        raw, name, [*chosen.measured, *chosen.classes, *outcome], chosen.home, _NOT_KNOWN
    )

    subjects = pl.Series(range(1, len(table) + 1), dtype=pl.Int64)
    facts = {_code(column): numbers(table[column], path) for column in chosen.measured}
    facts |= {_code(column): table[column] for column in chosen.classes}
    write_people(root, name, subjects, facts)

    days, end = _first_end(table, path, chosen)
    kinds = pl.Series([None, *(kind for kind, *_ in chosen.ends)], dtype=pl.String)
    value = {CATEGORY: kinds.gather(end)} if len(chosen.ends) > 1 else {BOOLEAN: end > 0}
    write_outcome(root, "survival", subjects, {FLOAT: days, **value})
    write_folds(root, subjects, end)


def _code(column: str) -> str:
    return column.upper().replace(".", "_")


def _first_end(table: pl.DataFrame, path: Path, chosen: _Set) -> tuple[pl.Series, pl.Series]:
    """Return the days of follow-up, and which end it had: 0 = none was seen, 1 = the first of the list."""
    # From the last end to the first, which has the last word.
    _, time, seen = chosen.ends[-1]
    days = numbers(table[time], path, needed=True)
    end = pl.zeros(len(table), pl.Int64, eager=True)
    for place, (_, time, seen) in reversed(list(enumerate(chosen.ends, start=1))):
        came = numbers(only(table[seen], ("0", "1"), path), path, needed=True) > 0
        days = (
            numbers(table[time], path, needed=True).zip_with(came, days)
            if place < len(chosen.ends)
            else days
        )
        end = pl.select(pl.when(came).then(place).otherwise(end)).to_series()
    return days * chosen.unit_days, end
