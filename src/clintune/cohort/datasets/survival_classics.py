"""Import tables on which survival methods are compared: SUPPORT2, GBSG, FLCHAIN and MGUS2.

MGUS2 has two competing ends. Columns that came after the prediction, or say how somebody else
predicted, are in no list of inputs, and so never read. In SUPPORT2 these are costs, length of stay,
orders not to resuscitate, scores and forecasts of models and physicians, and a scale with filled
gaps; in FLCHAIN it is the cause of death.
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
    """The home of a set, and the meaning of its columns.

    `ends` are (kind, column of the time, column of whether it was seen). Where two ends were seen,
    the one that stands first in the list ends the follow-up. `unit_days` is the number of days in
    the unit of the times.
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
            "age", "num.co", "edu", "scoma", "hday", "meanbp", "wblc", "hrt", "resp", "temp",
            "pafi", "alb", "bili", "crea", "sod", "ph", "glucose", "bun", "urine", "adlp", "adls",
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
_HALF_A_DAY = 0.5


def import_survival_classic(root: Path, raw: Path, name: str) -> None:
    """Write the cohort of one set to `root` from `NAME.parquet` or `NAME.csv` in `raw`.

    Label: survival, in days. Where two ends compete, the label has the kind of the one that came,
    null where none was seen. Subjects are numbered in the order of the rows, from 1. Raises
    ConfigError for an unknown set, and DataError for a file, column or cell that cannot be read.
    """
    if name not in _SETS:
        raise ConfigError(f"name: there is no set '{name}'{nearest(name, _SETS)}")

    chosen = _SETS[name]
    outcome = [column for _, *pair in chosen.ends for column in pair]
    columns = [*chosen.measured, *chosen.classes, *outcome]
    path, table = read_either(raw, name, columns, chosen.home, _NOT_KNOWN)

    # What is known of each person.
    subjects = pl.Series(range(1, len(table) + 1), dtype=pl.Int64)
    facts = {_code(column): numbers(table[column], path) for column in chosen.measured}
    facts |= {_code(column): table[column] for column in chosen.classes}
    write_people(root, name, subjects, facts)

    # What became of them.
    days, end = _first_end(table, path, chosen)
    kinds = pl.Series([None, *(kind for kind, *_ in chosen.ends)], dtype=pl.String)
    value = {CATEGORY: kinds.gather(end)} if len(chosen.ends) > 1 else {BOOLEAN: end > 0}
    # A follow-up that ended on its first day counts as half of it: a time of zero is none.
    lived = days.clip(lower_bound=_HALF_A_DAY)
    write_outcome(root, "survival", subjects, {FLOAT: lived, **value})
    write_folds(root, subjects, end)


def _code(column: str) -> str:
    return column.upper().replace(".", "_")


def _first_end(table: pl.DataFrame, path: Path, chosen: _Set) -> tuple[pl.Series, pl.Series]:
    """Return the days of follow-up, and its end: 0 where none was seen, 1 for the first listed.

    Days are those of the end that was seen, else of the last end of the list.
    """
    # Go from the last end to the first, which has the last word.
    _, time, seen = chosen.ends[-1]
    days = numbers(table[time], path, needed=True)
    end = pl.zeros(len(table), pl.Int64, eager=True)
    for place, (_, time, seen) in reversed(list(enumerate(chosen.ends, start=1))):
        came = numbers(only(table[seen], ("0", "1"), path), path, needed=True) > 0
        if place < len(chosen.ends):
            days = numbers(table[time], path, needed=True).zip_with(came, days)
        end = pl.select(pl.when(came).then(place).otherwise(end)).to_series()
    return days * chosen.unit_days, end
