"""What an evaluation leaves in the run folder for whoever uses the model."""

import json

import numpy as np
import polars as pl
import pytest

from clintune.cli import main
from clintune.core.errors import PackageError
from clintune.core.files import file_sha256
from clintune.evaluation.collect import check_finite
from clintune.evaluation.predictions import read_predictions
from clintune.experiment.folds import Fold
from clintune.metrics.classification import brier
from clintune.package.calibrations import read_calibrations
from clintune.publishing.release import make_release
from clintune.tasks.binary import Binary
from clintune.tasks.calibration import fit_calibration
from conftest import evaluate, train
from helpers.tuned_cohorts import write_tuned

STATIC = ["~modalities.notes", "~modalities.imaging", "~modalities.wearable"]
"""What leaves a recipe one modality, the cheapest."""


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """Return a cohort with enough tuning subjects of both classes to calibrate on."""
    root = tmp_path_factory.mktemp("large") / "cohort"
    write_tuned(root, subjects=160)
    return root


def test_calibration_is_fitted_on_tuning_and_judged_held_out(recipe, large):
    run = train(recipe(large), *STATIC, "trainer.max_steps=2")
    evaluate(run)
    task = Binary(label="deterioration")
    tuning, held_out = (
        read_predictions(run / "predictions_raw" / name, "outcome", task)
        for name in ("tuning", "held_out")
    )
    fitted = read_calibrations(run / "calibration.json")["outcome"]
    assert fitted == fit_calibration(tuning, task)
    assert fitted.reasons == (None,)

    found = json.loads((run / "metrics.json").read_text())["calibration"]["outcome"]
    after = fitted.apply(held_out.predicted)
    assert found["before"]["brier"] == pytest.approx(brier(held_out.targets, held_out.predicted))
    assert found["after"]["brier"] == pytest.approx(brier(held_out.targets, after))
    assert found["abstained"] == pytest.approx(fitted.abstains(after).mean())


def test_folds_are_calibrated_each_by_itself(recipe, large):
    words = ["cv=2", "cohorts.tiny.splits.tuning=0.7", "trainer.max_steps=1"]
    run = train(recipe(large), *STATIC, *words)
    evaluate(run)
    folds = [
        read_calibrations(run / "folds" / name / "calibration.json")["outcome"]
        for name in ("0-0", "0-1")
    ]
    assert folds[0] != folds[1]
    assert {fold.reasons for fold in folds} == {(None,)}
    assert not (run / "calibration.json").exists()


def test_the_metrics_name_the_packages_they_are_of(run_copy):
    run = run_copy("ensemble=2", "trainer.max_steps=2")
    evaluate(run)
    assert json.loads((run / "metrics.json").read_text())["packages"] == {
        f"package/member-{member}": file_sha256(
            run / "package" / f"member-{member}" / "MANIFEST.json"
        )
        for member in range(2)
    }


def test_a_run_is_evaluated_where_its_cohort_stands_now(recipe, cohort, tmp_path, capsys):
    run = train(recipe(cohort), "trainer.max_steps=1")
    was = (run / "recipe.yaml").read_bytes()
    moved = cohort.rename(tmp_path / "moved [now]")
    capsys.readouterr()
    assert main(["evaluate", str(run)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    here = f"cohorts.tiny.root={moved}"
    evaluate(run, here)
    assert make_release(run, draft=True, places=[here]).is_dir()
    assert (run / "recipe.yaml").read_bytes() == was

    label = moved / "labels" / "deterioration.parquet"
    pl.read_parquet(label, glob=False).with_columns(~pl.col("boolean_value")).write_parquet(label)
    assert main(["evaluate", str(run), here]) == 2
    assert "is not as it was when" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("cohorts.tiny.rot=/x", "did you mean 'cohorts.tiny.root'?"),
        (
            "trainer.lr=1",
            "key 'trainer.lr' cannot be changed after training, only where data stand",
        ),
        ("data.cache", "'data.cache' is no KEY=VALUE"),
    ],
)
def test_nothing_but_places_may_differ_from_training(shared_run, capsys, word, says):
    run = shared_run("trainer.max_steps=1")
    capsys.readouterr()
    assert main(["evaluate", str(run), word]) == 2
    said = capsys.readouterr().err
    assert says in said
    assert said.count("\n") == 1


def test_a_run_that_holds_nothing_out_is_refused_in_one_line(recipe, cohort, capsys):
    path = cohort / "metadata" / "subject_splits.parquet"
    pl.read_parquet(path).with_columns(split=pl.lit("train")).write_parquet(path)
    run = train(recipe(cohort), *STATIC, "trainer.max_steps=1")
    capsys.readouterr()
    assert main(["evaluate", str(run)]) == 2
    said = capsys.readouterr().err
    assert "no labelled sample is held out" in said
    assert said.count("\n") == 1


def test_tasks_of_odd_names_are_evaluated_and_published(recipe):
    path = recipe()
    tasks = "{'out[24h]': {_target_: clintune.tasks.binary.Binary, label: deterioration}}"
    text = path.read_text().replace("  - task@tasks.outcome: binary\n", "")
    path.write_text(text.replace("tasks: {outcome: {label: deterioration}}", f"tasks: {tasks}"))
    run = train(path, *STATIC, "trainer.max_steps=1")
    evaluate(run)
    assert json.loads((run / "metrics.json").read_text())["held_out"].keys() == {"out[24h]"}
    assert make_release(run, draft=True).is_dir()


def test_an_answer_that_is_no_number_is_an_error_of_the_package(tmp_path):
    fold = Fold(folder=tmp_path)
    check_finite(fold, "icu", np.full((3, 2), 0.5, np.float32))
    for wrong in (np.nan, np.inf):
        with pytest.raises(
            PackageError, match="the answers for icu are not finite in 1 of 3 samples"
        ):
            check_finite(fold, "icu", np.array([[0.5], [wrong], [0.1]], np.float32))
