"""The answers to samples as one table, with the columns of the prediction files."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from clintune.cohort.labels import SAMPLE
from clintune.inference.answers import Answers, SampleProblem
from clintune.tasks.base import Task

RAW = "_raw"
"""Suffix of the name of a probability before calibration."""
ABSTAINED, LACKS, UNREADABLE = "abstained", "lacks", "unreadable"

Float32s = NDArray[np.float32]
Bools = NDArray[np.bool_]


def answer_table(
    samples: pl.DataFrame,
    answers: Answers,
    tasks: Mapping[str, Task],
) -> pl.DataFrame:
    """Return the answers to `samples`, one row for each.

    The name of a column begins with the name of its task and `/`; of a task of many phenotypes the
    name of the phenotype and `/` follow. The rest is the name in the prediction file. `_raw` marks
    a probability before calibration, `abstained` says where there is no decision. `lacks` lists the
    modalities of which a sample has no item, `unreadable` the items that could not be read, with
    the reason.
    """
    columns: dict[str, pl.Series] = {name: samples[name] for name in SAMPLE}
    for name, task in tasks.items():
        parts = (answers.raw[name], answers.calibrated[name], answers.abstained[name])
        for prefix, part, raw, calibrated, abstained in _parts(name, task, *parts):
            for key, values in _columns(part, raw, calibrated, abstained):
                columns[f"{prefix}/{key}"] = values

    # What was missing, in two columns of lists.
    texts = pl.List(pl.String)
    columns[LACKS] = pl.Series(_lacks(answers, len(samples)), dtype=texts)
    columns[UNREADABLE] = pl.Series(_unreadable(answers.problems, len(samples)), dtype=texts)
    return pl.DataFrame(columns)


def _parts(
    name: str, task: Task, raw: Float32s, calibrated: Float32s, abstained: Bools
) -> Iterator[tuple[str, Task, Float32s, Float32s, Bools]]:
    """Yield a task, or each part of it, with its columns of the answers."""
    if not task.parts:
        yield name, task, raw, calibrated, abstained[:, 0]
        return
    for i, (part_name, part) in enumerate(task.parts.items()):
        column = slice(i, i + 1)
        yield f"{name}/{part_name}", part, raw[:, column], calibrated[:, column], abstained[:, i]


def _columns(
    task: Task,
    raw: Float32s,
    calibrated: Float32s,
    abstained: Bools,
) -> Iterator[tuple[str, pl.Series]]:
    """Yield the columns of a task: those of its prediction file, raw ones, and abstention."""
    for name, values in task.prediction_table(calibrated).items():
        column = pl.Series(name, values)
        if name == task.decision_column:
            column = pl.select(pl.when(~pl.Series(abstained)).then(column)).to_series()
        yield name, _without_nan(column)

    # Only answers to questions are calibrated, so only they have raw columns.
    if task.questions:
        for name, values in zip(task.predicted_columns, raw.T, strict=True):
            yield f"{name}{RAW}", _without_nan(pl.Series(name, values))
    yield ABSTAINED, pl.Series(abstained)


def _without_nan(column: pl.Series) -> pl.Series:
    """Return a column with null in place of NaN."""
    return column.fill_nan(None) if column.dtype.is_float() else column


def _lacks(answers: Answers, num_samples: int) -> list[list[str]]:
    """Return for each sample the modalities of which it has no item."""
    listed: list[list[str]] = [[] for _ in range(num_samples)]
    for name, absent in answers.lacks.items():
        for sample in np.flatnonzero(absent).tolist():
            listed[sample].append(name)
    return listed


def _unreadable(problems: Sequence[SampleProblem], num_samples: int) -> list[list[str]]:
    """Return for each sample the items that could not be read."""
    listed: list[list[str]] = [[] for _ in range(num_samples)]
    for problem in problems:
        if problem.modality is not None:
            listed[problem.sample].append(f"{problem.modality}: {problem.row}: {problem.reason}")
    return listed
