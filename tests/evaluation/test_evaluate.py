"""What an evaluation leaves in the run folder for whoever uses the model."""

import json

import numpy as np
import polars as pl
import pytest

from clintune.cli import main
from clintune.cohort.generators.quickstart import write_quickstart
from clintune.core.files import file_sha256
from clintune.evaluation.calibration import fit_calibration, read_calibrations
from clintune.evaluation.predictions import read_predictions
from clintune.metrics import brier
from clintune.tasks.binary import Binary
from conftest import evaluate, train


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """Return a cohort with enough tuning subjects of both classes to calibrate on."""
    root = tmp_path_factory.mktemp("large") / "cohort"
    write_quickstart(root, subjects=160, image_size=32, signal_days=1)
    path = root / "metadata" / "subject_splits.parquet"
    splits = pl.read_parquet(path)
    names = np.resize(["train", "tuning", "tuning", "held_out"], len(splits))
    splits.with_columns(split=pl.Series(names)).write_parquet(path)
    return root


def test_the_calibration_is_fitted_on_tuning_samples_and_judged_on_held_out_ones(recipe, large):
    run = train(recipe(large), "trainer.max_steps=2")
    evaluate(run)
    task = Binary(label="deterioration")
    tuning, held_out = (
        read_predictions(run / "predictions" / name, "outcome", task) for name in ("tuning", "held_out")
    )
    fitted = read_calibrations(run / "calibration.json")["outcome"]
    assert fitted == fit_calibration(tuning, task)
    assert fitted.reasons == (None,)
    found = json.loads((run / "metrics.json").read_text())["calibration"]["outcome"]
    after = fitted.apply(held_out.probabilities)
    assert found["before"]["brier"] == pytest.approx(brier(held_out.targets, held_out.probabilities))
    assert found["after"]["brier"] == pytest.approx(brier(held_out.targets, after))
    assert found["abstained"] == pytest.approx(fitted.abstains(after).mean())


def test_folds_are_calibrated_each_by_itself(recipe, large):
    run = train(recipe(large), "cv=2", "cohorts.tiny.splits.tuning=0.7", "trainer.max_steps=1")
    evaluate(run)
    folds = [read_calibrations(run / "folds" / name / "calibration.json")["outcome"] for name in ("0-0", "0-1")]
    assert folds[0] != folds[1]
    assert {fold.reasons for fold in folds} == {(None,)}
    assert not (run / "calibration.json").exists()


def test_the_metrics_name_the_packages_they_are_of(recipe):
    run = train(recipe(), "ensemble=2", "trainer.max_steps=1")
    evaluate(run)
    assert json.loads((run / "metrics.json").read_text())["packages"] == {
        f"package/member-{member}": file_sha256(run / "package" / f"member-{member}" / "MANIFEST.json")
        for member in range(2)
    }


def test_a_run_that_holds_nobody_out_is_refused_in_one_line(recipe, cohort, capsys):
    (cohort / "metadata" / "subject_splits.parquet").unlink()
    splits = ["cohorts.tiny.splits.tuning=0", "cohorts.tiny.splits.held_out=0"]
    run = train(recipe(cohort), *splits, "trainer.max_steps=1")
    assert main(["evaluate", str(run)]) == 2
    assert "no labelled sample is held out; check the splits" in capsys.readouterr().err
