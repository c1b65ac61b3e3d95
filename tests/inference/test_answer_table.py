"""One table for tasks of every kind, under the names of their prediction files."""

import numpy as np
import polars as pl
import pytest

from clintune.contracts import Predictions
from clintune.evaluation.predictions import CALIBRATED, RAW, write_both
from clintune.inference.answers import Answers, SampleProblem
from clintune.inference.table import answer_table
from clintune.tasks.binary import Binary
from clintune.tasks.calibration import Calibration
from clintune.tasks.multiclass import Multiclass
from clintune.tasks.multilabel import Multilabel
from clintune.tasks.regression import Regression
from clintune.tasks.survival import Survival

N = 24
TASKS = {
    "binary": Binary(label="x"),
    "multiclass": Multiclass(label="x", classes=["a", "b", "c"]),
    "multilabel": Multilabel(label="x", phenotypes=["sepsis", "aki"]),
    "regression": Regression(label="x"),
    "survival": Survival(label="x"),
}
TIMES = pl.datetime_range(pl.datetime(2026, 1, 1), pl.datetime(2026, 1, N), "1d", eager=True)


def calibration_of(task):
    """Return a calibration that has an effect on whatever questions a task has."""
    identity = Calibration.identity(task.questions)
    if not task.questions:
        return identity
    number = len(identity.slope)
    floors = tuple((0.3,) * len(row) for row in identity.floors)
    return Calibration(
        exclusive=identity.exclusive,
        slope=(0.6,) * number,
        intercept=(0.0,) * number,
        floors=floors,
        reasons=(None,) * number,
    )


def answers_of(name):
    """Return what a task answers to N samples, and the calibration."""
    task, draw = TASKS[name], np.random.default_rng(0)
    raw = draw.random((N, len(task.predicted_names))).astype(np.float32)
    if name == "multiclass":
        raw /= raw.sum(axis=1, keepdims=True)
    calibration = calibration_of(task)
    calibrated = calibration.apply(raw)
    return raw, calibrated, calibration.abstains(calibrated), calibration


def table_of(name, problems=()):
    raw, calibrated, abstained, calibration = answers_of(name)
    answers = Answers(
        raw={"out": raw},
        calibrated={"out": calibrated},
        abstained={"out": abstained},
        not_finite={"out": np.zeros(N, bool)},
        lacks={"notes": np.arange(N) == 1, "static": np.arange(N) < 2},
        problems=problems,
    )
    samples = pl.DataFrame({"subject_id": range(N), "prediction_time": TIMES})
    return answer_table(samples, answers, {"out": TASKS[name]}), raw, calibration


def read(place, prefix):
    """Return the prediction files at a place, one a task or phenotype, by names of the table."""
    files = [(prefix, place.with_suffix(".parquet"))]
    if not files[0][1].exists():
        files = [(f"{prefix}/{path.stem}", path) for path in sorted(place.glob("*.parquet"))]
    found = {}
    for name, path in files:
        table = pl.read_parquet(path)
        found |= {
            f"{name}/{column}": table[column]
            for column in table.columns
            if column.startswith("predicted_")
        }
    return found


@pytest.mark.parametrize("name", TASKS)
def test_the_table_says_what_the_files_say(tmp_path, name):
    table, raw, calibration = table_of(name)
    width = len(calibration.reasons) or len(TASKS[name].label_columns)
    predictions = Predictions(
        cohort=np.full(N, "here"),
        subject_id=np.arange(N),
        prediction_time=TIMES.to_list(),
        fold=np.zeros(N, np.int64),
        targets=np.full((N, width), np.nan, np.float32),
        predicted=raw,
    )
    write_both(tmp_path, "held_out", "out", predictions, [calibration], TASKS[name])
    calibrated, plain = (
        read(tmp_path / folder / "held_out" / "out", "out") for folder in (CALIBRATED, RAW)
    )
    for column, values in calibrated.items():
        assert values.equals(table[column], null_equal=True), column

    questions = {column for column in plain if "probability" in column}
    for column in questions:
        assert plain[column].equals(table[f"{column}_raw"], null_equal=True)
        assert not plain[column].equals(calibrated[column])
    assert bool(questions) is bool(TASKS[name].questions)
    assert sum(column.endswith("_raw") for column in table.columns) == len(questions)


@pytest.mark.parametrize("name", ["binary", "multiclass", "multilabel"])
def test_decisions_are_null_where_the_model_abstains(name):
    table, *_ = table_of(name)
    for column in table.columns:
        if column.endswith("/abstained"):
            prefix = column.removesuffix("abstained")
            (decision,) = [
                c for c in table.columns if c.startswith(prefix) and c.endswith("_value")
            ]
            assert table[decision].is_null().equals(table[column].rename(decision))
            assert 0 < table[column].sum() < N


def test_what_is_missing_stands_beside_the_answers():
    problems = [
        SampleProblem(2, "notes", "events: row 3", "is broken"),
        SampleProblem(3, None, None, "nothing"),
    ]
    table, *_ = table_of("regression", problems)
    assert table["lacks"].to_list()[:3] == [["static"], ["notes", "static"], []]
    assert table["unreadable"].to_list()[2:4] == [["notes: events: row 3: is broken"], []]
