"""A made-up cohort with 25 phenotypes, which notes, labs and prescriptions each tell in part."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
from meds.schema import held_out_split, train_split, tuning_split

from clintune.cohort.generators.conditions import CONDITIONS, Condition
from clintune.cohort.shards import SUBJECT
from clintune.cohort.writer import (
    BOOLEAN,
    PREDICTION_TIME,
    Events,
    write_labels,
    write_splits,
    write_tables,
)

_MENTIONED = 0.6
"""The chance that a note names a condition which the patient has."""
_TESTED = (0.7, 0.25)
_PRESCRIBED = (0.5, 0.01)
"""The chances of a test and of a prescription (with, without the condition)."""
_UNLABELLED = 0.05
_FIRST = datetime(2020, 1, 1)  # noqa: DTZ001 (MEDS times have no zone)
_HAS = (
    "Known {}.",
    "History of {}.",
    "Admitted with {}.",
    "Being treated for {}.",
    "Findings consistent with {}.",
)
_HAS_NOT = ("No evidence of {}.", "Denies {}.", "Mother had {}.", "Work-up for {} was negative.")
_FILLER = (
    "Lives alone and manages the household.",
    "Reviewed in clinic, next appointment in three months.",
    "Tolerating diet and walking with a stick.",
    "Medication list checked with the pharmacist.",
    "No known drug allergies.",
    "Vaccinations are up to date.",
)


def write_phenotyping(root: Path, subjects: int, seed: int = 0) -> None:
    """Write the cohort to `root`; a twentieth of its labels `phenotypes/<condition>` is missing.

    Labels are missing at random. Prevalence runs from 1 to 40 %, by age and sex. Splits are 60 %
    train, 15 % tuning, 25 % held out. Diagnosis codes after the prediction time give the phenotypes
    away. Each subject depends on the seed and its number alone.
    """
    events = Events()
    labels: dict[str, list[tuple[int, datetime, bool]]] = {
        condition.name: [] for condition in CONDITIONS
    }
    splits = {}

    for subject in range(1, subjects + 1):
        rng = np.random.default_rng((seed, subject))
        time = _FIRST + timedelta(minutes=int(rng.integers(3 * 365 * 1440)))

        # What is known by then, and what is labelled.
        present = _add_patient(rng, events, subject, time)
        for condition, has in zip(CONDITIONS, present, strict=True):
            if has:
                code = f"DIAGNOSIS//{condition.name.upper()}"
                events.add(subject, time + timedelta(days=1), code)
            if rng.random() >= _UNLABELLED:
                labels[condition.name].append((subject, time, has))
        names = (train_split, tuning_split, held_out_split)
        splits[subject] = str(rng.choice(names, p=(0.6, 0.15, 0.25)))

    write_tables(root, "phenotyping", events.table(), shards=4)
    for name, rows in labels.items():
        table = pl.DataFrame(rows, [SUBJECT, PREDICTION_TIME, BOOLEAN], orient="row")
        write_labels(root, f"phenotypes/{name}", table)
    write_splits(root, splits)


def _add_patient(
    rng: np.random.Generator, events: Events, subject: int, time: datetime
) -> list[bool]:
    """Add a patient's rows before the prediction time; return which conditions the patient has."""
    age, male = float(np.clip(np.round(rng.normal(62, 15)), 18, 99)), bool(rng.random() < 0.5)
    events.add(subject, None, "AGE", numeric_value=age)
    events.add(subject, None, "SEX//M" if male else "SEX//F")
    present = [rng.random() < _chance(condition, age, male) for condition in CONDITIONS]

    for _ in range(int(rng.integers(1, 4))):
        events.add(subject, _before(rng, time), "NOTE//CLINIC", text_value=_note(rng, present))
    for code, value in _facts(rng, present):
        events.add(subject, _before(rng, time), code, numeric_value=value)
    return present


def _chance(condition: Condition, age: float, male: bool) -> float:
    """Return the probability of a condition at an age and sex."""
    odds = np.log(condition.prevalence / (1 - condition.prevalence))
    odds += condition.age * (age - 62) / 10 + condition.male * (0.5 if male else -0.5)
    return float(1 / (1 + np.exp(-odds)))


def _before(rng: np.random.Generator, time: datetime) -> datetime:
    """Return a minute within the year before a time."""
    return time - timedelta(minutes=int(rng.integers(1, 365 * 1440)))


def _note(rng: np.random.Generator, present: list[bool]) -> str:
    """Return a note that names some of the conditions, rules out others, and says little else."""
    lines = [str(line) for line in rng.choice(_FILLER, 2, replace=False)]
    for condition, has in zip(CONDITIONS, present, strict=True):
        if rng.random() < (_MENTIONED if has else 0.04):
            phrase = str(rng.choice(_HAS if has else _HAS_NOT))
            lines.append(phrase.format(rng.choice(condition.wordings)))
    return " ".join(lines[place] for place in rng.permutation(len(lines)))


def _facts(rng: np.random.Generator, present: list[bool]) -> Iterator[tuple[str, float | None]]:
    """Yield labs as (code, value) and drugs as (code, None)."""
    for condition, has in zip(CONDITIONS, present, strict=True):
        if rng.random() < _TESTED[not has]:
            code, mean, deviation, shift = condition.lab
            value = mean + deviation * rng.standard_normal() + has * shift * rng.random()
            yield code, float(np.float32(value))
        if rng.random() < _PRESCRIBED[not has]:
            yield condition.drug, None
