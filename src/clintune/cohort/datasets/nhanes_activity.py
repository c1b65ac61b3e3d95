"""Import NHANES 2011-2014: wrist accelerometer summaries, covariates, and deaths until 2019.

Deaths are known to the end of that year. A cohort is made for one question, so that no fact
gives its answer away. `age` reads activity and sex alone; `survival` also reads age, habits and
illnesses. Survey weights, design and causes of death are never read.
"""

from pathlib import Path

import polars as pl

from clintune.cohort.datasets.facts import (
    DAYS_PER_MONTH,
    FLOAT,
    write_folds,
    write_outcome,
    write_people,
)
from clintune.cohort.datasets.raw import numbers, only, read_either
from clintune.cohort.writer import BOOLEAN
from clintune.core.errors import ConfigError, DataError

_HOME = "https://github.com/lilykoff/nhanes_steps_mortality"
_TABLE = "nhanes_2011_2014"
_MEASURES = (
    "AC", "log10AC", "PAXMTSM", "log10PAXMTSM", "actisteps", "adeptsteps", "oaksteps", "scrfsteps",
    "scsslsteps", "vsrevsteps", "vssteps",
)  # fmt: skip
_ACTIVITY = tuple(
    f"{part}_{measure}" for measure in _MEASURES for part in ("total", "peak1", "peak30")
)
_AGE, _SEX, _WORN = "age_in_years_at_screening", "gender", "num_valid_days"
_SEEN, _MONTHS = "mortstat", "permth_exm"
_COVARIATES = (
    "race_hispanic_origin", "cat_education", "cat_bmi", "diabetes", "chf", "chd", "angina",
    "heartattack", "stroke", "cancer", "arthritis", "cat_alcohol", "cat_smoke",
    "bin_mobilityproblem", "general_health_condition",
)  # fmt: skip
_NOT_KNOWN = ("NA", "Missing alcohol")
_QUESTIONS = ("age", "survival")
_LEAST_DAYS = 3
_YOUNGEST = {"age": 20, "survival": 50}
_CENSORED_AGE = 80
"""From this age on, the table says 80: no age that a regression could be held to."""


def import_nhanes_activity(root: Path, raw: Path, question: str) -> None:
    """Write the cohort of a question to `root` from `nhanes_2011_2014.parquet` or `.csv` in `raw`.

    Question and label are `age` (in years, of people of 20 to 79) or `survival` (days from the
    examination, of people from 50 on whose death is followed up). All wore the device on at least
    3 valid days. Subjects are the SEQN. Raises ConfigError for another question, and DataError for
    a file, column or cell that cannot be read.
    """
    if question not in _QUESTIONS:
        raise ConfigError(f"question '{question}': is none of {', '.join(_QUESTIONS)}")

    columns = ["SEQN", _AGE, _SEX, _WORN, _SEEN, _MONTHS, *_ACTIVITY, *_COVARIATES]
    path, table = read_either(raw, _TABLE, columns, _HOME, _NOT_KNOWN)

    # Measurements are numbers; death is a yes or no.
    measures = ("SEQN", _AGE, _WORN, _MONTHS, *_ACTIVITY)
    measured = [numbers(table[column], path) for column in measures]
    table = table.with_columns(*measured, only(table[_SEEN], ("0", "1"), path) == "1")

    table = _people_of(table, question)
    if table["SEQN"].null_count() or table["SEQN"].is_duplicated().any():
        raise DataError(
            f"{path}: column SEQN is empty or has a number twice; give each person one row"
        )

    subjects = table["SEQN"].cast(pl.Int64)
    write_people(root, f"nhanes_{question}", subjects, _facts(table, question))
    if question == "age":
        write_outcome(root, "age", subjects, {FLOAT: table[_AGE]})
        write_folds(root, subjects, table[_AGE])
    else:
        days, died = table[_MONTHS] * DAYS_PER_MONTH, table[_SEEN]
        write_outcome(root, "survival", subjects, {FLOAT: days, BOOLEAN: died})
        write_folds(root, subjects, died)


def _people_of(table: pl.DataFrame, question: str) -> pl.DataFrame:
    """Return the people of whom a question is asked."""
    table = table.filter((pl.col(_WORN) >= _LEAST_DAYS) & (pl.col(_AGE) >= _YOUNGEST[question]))
    if question == "age":
        return table.filter(pl.col(_AGE) < _CENSORED_AGE)
    return table.filter(pl.col(_SEEN).is_not_null() & pl.col(_MONTHS).is_not_null())


def _facts(table: pl.DataFrame, question: str) -> dict[str, pl.Series]:
    """Return the facts of a question by code: activity and sex, for survival also the others."""
    facts = {f"ACTIVITY//{column}": table[column] for column in _ACTIVITY}
    facts["SEX"] = table[_SEX]
    if question == "survival":
        facts["AGE"] = table[_AGE]
        facts |= {_code(column): table[column] for column in _COVARIATES}
    return facts


def _code(column: str) -> str:
    return column.removeprefix("cat_").removeprefix("bin_").upper()
