"""A small made-up cohort with notes, chest images and wearable signals, for a first run in minutes.

Three independent factors, one for each modality, decide together who deteriorates. One modality
alone does not get far; all three come close to certainty. Rows after the prediction time give the
outcome away: a model that sees them is too good.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from statistics import NormalDist

import numpy as np
import polars as pl
from meds.schema import held_out_split, train_split, tuning_split

from clintune.cohort.generators.actigraphy import activity_counts
from clintune.cohort.generators.chest import chest_image
from clintune.cohort.generators.notes import outcome_note, progress_note
from clintune.cohort.shards import SUBJECT
from clintune.cohort.writer import (
    BOOLEAN,
    PREDICTION_TIME,
    Events,
    write_labels,
    write_signal,
    write_splits,
    write_tables,
)

_NOISE = 0.3
_THRESHOLD = 0.4
_MISSING = 0.05
_STEPS = np.sqrt([2, 3, 5]) % 1
"""Steps of an additive sequence (Richtmyer, 1951) that fills the cube evenly.

Factors are balanced in any run of subjects. So a split of 150 shows the design and not the luck of
the draw.
"""
_FIRST = datetime(2020, 1, 1)  # noqa: DTZ001 (MEDS times have no zone)
_SHARDS = 4


@dataclass(frozen=True)
class _Patient:
    """A subject: the factors [3] behind note, image and signal, which are observed, the outcome."""

    subject: int
    time: datetime
    factors: tuple[float, float, float]
    observed: tuple[bool, bool, bool]
    outcome: bool


def write_quickstart(
    root: Path, subjects: int, seed: int = 0, image_size: int = 128, signal_days: int = 2
) -> None:
    """Write the cohort to `root`: about 40 % of subjects have the label `deterioration`.

    About 3 % of each modality is missing. Splits are 60 % train, 15 % tuning, 25 % held out. Each
    subject depends on the seed and its number alone.
    """
    events = Events(media=["image_path", "waveform_path"])
    patients = [_draw(seed, number) for number in range(1, subjects + 1)]

    for patient in patients:
        # A patient's rows do not depend on other patients.
        rng = np.random.default_rng((seed, patient.subject, 1))
        _add_facts(rng, events, patient)
        if patient.observed[0]:
            _add_notes(rng, events, patient)
        if patient.observed[1]:
            _add_images(rng, events, patient, root, image_size)
        if patient.observed[2]:
            _add_signal(rng, events, patient, root, signal_days)
        _add_aftermath(rng, events, patient, root, image_size)

    write_tables(root, "quickstart", events.table(), _SHARDS)
    rows = [(patient.subject, patient.time, patient.outcome) for patient in patients]
    table = pl.DataFrame(rows, [SUBJECT, PREDICTION_TIME, BOOLEAN], orient="row")
    write_labels(root, "deterioration", table)
    write_splits(
        root, {patient.subject: _split(patient.subject / subjects) for patient in patients}
    )


def _split(place: float) -> str:
    """Return the split of the subject at a place in (0, 1] among all."""
    if place <= 0.6:
        return train_split
    return tuning_split if place <= 0.75 else held_out_split


def _draw(seed: int, subject: int) -> _Patient:
    """Draw a subject; it does not depend on how many there are."""
    shift = np.random.default_rng((seed,)).random(3)
    rng = np.random.default_rng((seed, subject, 0))
    note, image, signal = (NormalDist().inv_cdf(place) for place in (shift + subject * _STEPS) % 1)
    observed = rng.random(3) >= _MISSING
    observed[rng.integers(3)] = True
    outcome = note + image + signal + _NOISE * rng.standard_normal() > _THRESHOLD
    time = _FIRST + timedelta(minutes=int(rng.integers(3 * 365 * 1440)))
    return _Patient(subject, time, (note, image, signal), tuple(observed.tolist()), bool(outcome))


def _before(rng: np.random.Generator, patient: _Patient, hours: float) -> datetime:
    """Return a minute within `hours` before the patient's prediction time."""
    return patient.time - timedelta(minutes=int(rng.integers(1, round(hours * 60))))


def _add_facts(rng: np.random.Generator, events: Events, patient: _Patient) -> None:
    sex, age = "FM"[int(rng.integers(2))], float(np.clip(np.round(rng.normal(64, 14)), 18, 99))
    events.add(patient.subject, None, f"SEX//{sex}")
    events.add(patient.subject, None, "AGE", numeric_value=age)


def _add_notes(rng: np.random.Generator, events: Events, patient: _Patient) -> None:
    for _ in range(int(rng.integers(2, 5))):
        text = progress_note(rng, patient.factors[0])
        events.add(patient.subject, _before(rng, patient, 48), "NOTE//PROGRESS", text_value=text)


def _add_images(
    rng: np.random.Generator, events: Events, patient: _Patient, root: Path, size: int
) -> None:
    for number in range(int(rng.integers(1, 3))):
        path = _save_image(rng, root, f"{patient.subject:06d}_{number}", patient.factors[1], size)
        events.add(patient.subject, _before(rng, patient, 36), "IMAGE//CXR", image_path=path)


def _add_signal(
    rng: np.random.Generator, events: Events, patient: _Patient, root: Path, days: int
) -> None:
    path = root / "signals" / f"{patient.subject:06d}.npz"
    end = patient.time - timedelta(minutes=int(rng.integers(0, 60)))
    start = end - timedelta(days=days)
    counts = activity_counts(rng, patient.factors[2], start, days)
    write_signal(path, counts[None], 1 / 60, start, ["activity"])
    events.add(patient.subject, end, "ACTIGRAPHY", waveform_path=path.relative_to(root).as_posix())


def _add_aftermath(
    rng: np.random.Generator, events: Events, patient: _Patient, root: Path, size: int
) -> None:
    """Add rows from a minute after the prediction time on, which name the outcome or show it."""
    after = patient.time + timedelta(minutes=1)
    events.add(patient.subject, after, "NOTE//OUTCOME", text_value=outcome_note(patient.outcome))
    events.add(patient.subject, after, "DETERIORATION", numeric_value=float(patient.outcome))

    severity = 3.0 if patient.outcome else -3.0
    path = _save_image(rng, root, f"{patient.subject:06d}_after", severity, size)
    later = after + timedelta(hours=int(rng.integers(1, 48)))
    events.add(patient.subject, later, "IMAGE//CXR", image_path=path)


def _save_image(rng: np.random.Generator, root: Path, name: str, severity: float, size: int) -> str:
    path = root / "images" / f"{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    chest_image(rng, severity, size).save(path)
    return path.relative_to(root).as_posix()
