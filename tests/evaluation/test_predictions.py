"""Prediction files: read back as written, and read by the field's own evaluation tool."""

from dataclasses import replace
from datetime import datetime

import numpy as np
import polars as pl
import pytest
from meds_evaluation.evaluate import evaluate_binary_classification
from meds_evaluation.schema import PredictionSchema

from clintune.contracts import Predictions
from clintune.core.errors import DataError
from clintune.evaluation.predictions import read_predictions, write_predictions, write_shard
from clintune.metrics import classification as metrics
from clintune.tasks.binary import Binary
from clintune.tasks.multiclass import Multiclass
from clintune.tasks.multilabel import Multilabel

TASKS = {
    "binary": Binary(label="x"),
    "multiclass": Multiclass(label="x", classes=["a", "b", "c"]),
    "multilabel": Multilabel(label="x", phenotypes=["sepsis", "aki"]),
}


def make(kind, n=60):
    rng = np.random.default_rng(0)
    task = TASKS[kind]
    if kind == "multiclass":
        targets, probabilities = rng.integers(0, 3, (n, 1)), rng.dirichlet(np.ones(3), n)
    else:
        shape = (n, task.num_outputs)
        targets, probabilities = rng.integers(0, 2, shape), rng.random(shape)

    return Predictions(
        cohort=np.repeat(["here", "there"], n // 2),
        subject_id=np.tile(np.arange(n // 2), 2),
        prediction_time=[datetime(2020, 1, 1, i % 24, 0, 0, i) for i in range(n)],
        fold=np.arange(n) % 3,
        targets=targets.astype(np.float32),
        predicted=probabilities.astype(np.float32),
    )


def rows(predictions):
    """Return what stands in each row, in an order of its own."""
    keys = zip(
        predictions.fold.tolist(),
        predictions.cohort.tolist(),
        predictions.subject_id.tolist(),
        strict=True,
    )
    values = np.hstack([predictions.targets, predictions.predicted]).tolist()
    return sorted(zip(keys, predictions.prediction_time, map(str, values), strict=True))


@pytest.mark.parametrize("kind", TASKS)
def test_labelled_predictions_are_read_back_as_written(tmp_path, kind):
    predictions = make(kind)
    write_predictions(tmp_path, "x", predictions, TASKS[kind])
    assert rows(read_predictions(tmp_path, "x", TASKS[kind])) == rows(predictions)


@pytest.mark.parametrize("kind", TASKS)
def test_unknown_labels_leave_the_scores_as_they_are(tmp_path, kind):
    predictions = make(kind)
    targets = predictions.targets.copy()
    targets[::4, 0] = np.nan
    predictions = replace(predictions, targets=targets)
    write_predictions(tmp_path, "x", predictions, TASKS[kind])
    back = read_predictions(tmp_path, "x", TASKS[kind])
    before, after = (TASKS[kind].score(p.targets, p.predicted) for p in (predictions, back))
    assert after == pytest.approx(before)


@pytest.mark.parametrize("kind", TASKS)
def test_predictions_without_any_label_keep_every_row(tmp_path, kind):
    predictions = make(kind)
    predictions = replace(predictions, targets=np.full_like(predictions.targets, np.nan))
    write_predictions(tmp_path, "x", predictions, TASKS[kind])
    assert rows(read_predictions(tmp_path, "x", TASKS[kind])) == rows(predictions)


@pytest.mark.parametrize(
    ("kind", "file", "column"), [("binary", "x.parquet", 0), ("multilabel", "x/aki.parquet", 1)]
)
def test_files_hold_the_prediction_schema_and_score_alike(tmp_path, kind, file, column):
    predictions = make(kind)
    write_predictions(tmp_path, "x", predictions, TASKS[kind])
    table = pl.read_parquet(tmp_path / file)
    PredictionSchema.validate(table.to_arrow())
    theirs = evaluate_binary_classification(table)["samples_equally_weighted"]
    ours = [predictions.targets[:, column], predictions.predicted[:, column]]
    assert theirs["roc_auc_score"] == pytest.approx(metrics.auroc(*ours))
    assert theirs["average_precision_score"] == pytest.approx(metrics.auprc(*ours))
    assert theirs["brier_score"] == pytest.approx(metrics.brier(*ours), abs=1e-6)


def test_a_multiclass_file_names_classes_and_probabilities(tmp_path):
    predictions = make("multiclass")
    table = pl.read_parquet(write_predictions(tmp_path, "x", predictions, TASKS["multiclass"]))
    assert table.columns == [
        "subject_id",
        "prediction_time",
        "categorical_value",
        "predicted_categorical_value",
        *[f"predicted_probability_{name}" for name in "abc"],
    ]
    hits = (table["categorical_value"] == table["predicted_categorical_value"]).mean()
    assert hits == pytest.approx(metrics.accuracy(predictions.targets, predictions.predicted))


def test_a_file_of_another_origin_is_refused(tmp_path):
    path = write_predictions(tmp_path, "x", make("binary"), TASKS["binary"])
    pl.read_parquet(path).write_parquet(path)
    with pytest.raises(DataError, match=r"x\.parquet: not predictions of clintune"):
        read_predictions(tmp_path, "x", TASKS["binary"])
    with pytest.raises(DataError, match=r"y\.parquet: not predictions of clintune"):
        read_predictions(tmp_path, "y", TASKS["binary"])


@pytest.mark.parametrize("kind", TASKS)
def test_a_shard_keeps_every_row_in_order(tmp_path, kind):
    predictions, task = replace(make(kind), fold=np.zeros(60, np.int64)), TASKS[kind]
    questions = predictions.targets.shape[1]
    withheld = np.random.default_rng(1).random((60, questions)) < 0.3
    labelled = (
        np.arange(questions) == 0
    )  # of the second phenotype a label of another shard is unknown
    write_shard(tmp_path, "x", "000001", predictions, task, withheld=withheld, labelled=labelled)
    write_predictions(tmp_path / "whole", "x", predictions, task)
    names = task.output_names if kind == "multilabel" else [""]
    for i, name in enumerate(names):
        table = pl.read_parquet(tmp_path / "x" / name / "000001.parquet")
        whole = pl.read_parquet(tmp_path / "whole" / (f"x/{name}.parquet" if name else "x.parquet"))
        value = "categorical_value" if kind == "multiclass" else "boolean_value"
        decision = (
            pl.when(~pl.Series(withheld[:, i]))
            .then(f"predicted_{value}")
            .alias(f"predicted_{value}")
        )
        assert table.equals(whole.with_columns(decision).drop([] if labelled[i] else value))
        if kind != "multiclass":
            PredictionSchema.validate(table.to_arrow())


@pytest.mark.parametrize("name", ["/abs", "../away", "a/../../b", "", "a\nb"])
@pytest.mark.parametrize("kind", ["binary", "multilabel"])
def test_no_name_of_a_task_or_phenotype_leads_out_of_the_folder(tmp_path, kind, name):
    folder, predictions = tmp_path / "deep/folder", make(kind)
    known = {"withheld": np.zeros((60, 2), bool), "labelled": np.zeros(2, bool)}
    foreign = Multilabel(label="x", phenotypes=["sepsis", name])
    calls = [
        lambda: write_predictions(folder, name, predictions, TASKS[kind]),
        lambda: write_shard(folder, name, "000000", predictions, TASKS[kind], **known),
        lambda: read_predictions(folder, name, TASKS[kind]),
    ]
    if kind == "multilabel":
        calls += [
            lambda: write_predictions(folder, "x", predictions, foreign),
            lambda: write_shard(folder, "x", "000000", predictions, foreign, **known),
            lambda: read_predictions(
                folder, "x", Multilabel(label="x", phenotypes=[name, "sepsis"])
            ),
        ]

    for call in calls:
        with pytest.raises(DataError, match=r"(task|phenotype) '.*; use another name"):
            call()
    assert not [path for path in tmp_path.rglob("*.parquet") if not path.is_relative_to(folder)]


@pytest.mark.parametrize("name", ["mortality/icu", "out[24h]", "a=b", "100 %", "x.y"])
def test_names_with_slashes_and_brackets_stay_below_the_folder(tmp_path, name):
    predictions = make("binary")
    path = write_predictions(tmp_path, name, predictions, TASKS["binary"])
    assert path == tmp_path / f"{name}.parquet"
    assert rows(read_predictions(tmp_path, name, TASKS["binary"])) == rows(predictions)
