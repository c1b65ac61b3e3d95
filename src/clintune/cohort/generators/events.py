"""Three made-up cohorts of events, each with one thing to learn: an order, a trend, a number."""

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl

from clintune.cohort.shards import SUBJECT
from clintune.cohort.writer import (
    BOOLEAN,
    PREDICTION_TIME,
    Events,
    write_labels,
    write_splits,
    write_tables,
)
from clintune.core.seeding import derive_seed

Question = Literal["order", "trend", "number"]
_START = datetime(2020, 1, 1)  # noqa: DTZ001 (MEDS times have no zone)
_HOURS = 48.0
_NUM_OTHERS = 8
"""Codes that say nothing."""

Timed = list[tuple[float, str, float | None]]
"""Events as (hours since the start, code, value)."""


def write_events(root: Path, question: Question, subjects: int, seed: int = 0) -> None:
    """Write a cohort whose label `outcome` asks one question of each subject's events.

    `order`: does FIRST//A come before FIRST//B? `trend`: do the values of LAB//X rise? `number`: is
    DRUG//A given more than five times? One in five subjects is for tuning, two in five are held
    out.
    """
    draw = np.random.default_rng(derive_seed(seed, "events", question))
    events, labels = Events(), []
    end = _START + timedelta(hours=_HOURS)
    for subject in range(subjects):
        found, label = _QUESTIONS[question](draw)

        # Events that say nothing stand among those that answer.
        others = [
            (draw.uniform(0, _HOURS), f"OTHER//{draw.integers(_NUM_OTHERS)}", None)
            for _ in range(draw.poisson(6))
        ]
        for hours, code, value in sorted([*found, *others], key=lambda event: event[0]):
            events.add(subject, _START + timedelta(hours=hours), code, numeric_value=value)
        labels.append({SUBJECT: subject, PREDICTION_TIME: end, BOOLEAN: label})

    write_tables(root, f"events_{question}", events.table())
    write_labels(root, "outcome", pl.DataFrame(labels))
    names = ("train", "train", "tuning", "held_out", "held_out")
    write_splits(root, {subject: names[subject % len(names)] for subject in range(subjects)})


def _order(draw: np.random.Generator) -> tuple[Timed, bool]:
    first, second = draw.uniform(0, _HOURS, 2).tolist()
    return [(first, "FIRST//A", None), (second, "FIRST//B", None)], first < second


def _trend(draw: np.random.Generator) -> tuple[Timed, bool]:
    rises = bool(draw.random() < 0.5)
    hours = np.sort(draw.uniform(0, _HOURS, draw.integers(4, 9)))
    steps = np.linspace(-1, 1, len(hours)) * (1 if rises else -1)
    values = 100 + 20 * draw.standard_normal() + 8 * steps + draw.standard_normal(len(hours))
    pairs = zip(hours.tolist(), values.tolist(), strict=True)
    return [(hour, "LAB//X", value) for hour, value in pairs], rises


def _number(draw: np.random.Generator) -> tuple[Timed, bool]:
    number = int(draw.integers(1, 11))
    hours = draw.uniform(0, _HOURS, number).tolist()
    return [(hour, "DRUG//A", None) for hour in hours], number > 5


_QUESTIONS: dict[Question, Callable[[np.random.Generator], tuple[Timed, bool]]] = {
    "order": _order,
    "trend": _trend,
    "number": _number,
}
