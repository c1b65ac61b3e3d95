"""Promise 1: nothing from after the prediction time reaches training or evaluation.

Nor does anybody who is in two splits.
"""

import json
import shutil
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest
import torch

from clintune.config.compose import load_config
from clintune.experiment.fold_data import precompute_pieces
from clintune.experiment.open import open_experiment
from clintune.inference.forward import predict_member
from clintune.package.load import load_package
from conftest import KINDS, plant, train, weights
from helpers.rows_by_hand import all_rows

AGED = "modalities.static.codes=[AGE]"


def predictions(run, root):
    """Return the risk of every sample by the run's package on the data that are now at `root`."""
    config = load_config(run / "recipe.yaml")
    tiny = replace(config.cohorts["tiny"], root=str(root))
    experiment = open_experiment(replace(config, cohorts={"tiny": tiny}))
    package, rows = load_package(run / "package"), np.arange(len(experiment.samples))
    encoders = package.model.encoders
    caches, _ = precompute_pieces(
        experiment, encoders, package.statistics, rows, torch.device("cpu")
    )
    everything = {"all": frozenset(encoders)}
    settings = {"batch_size": 8, "precision": "fp32"}
    return predict_member(package, caches, experiment.samples, rows, everything, **settings)["all"][
        "outcome"
    ]


def test_an_item_after_the_prediction_time_changes_nothing(shared_run, recipe, cohort):
    run = shared_run(AGED)
    before = predictions(run, cohort)
    plant(cohort, 1, *KINDS)
    assert np.array_equal(predictions(run, cohort), before)
    assert weights(train(recipe(cohort), AGED)) == weights(run)


@pytest.mark.parametrize("seconds", [0, -1])
@pytest.mark.parametrize("kind", KINDS)
def test_an_item_known_by_the_prediction_time_does_count(shared_run, cohort, kind, seconds):
    run = shared_run(AGED)
    before = predictions(run, cohort)
    plant(cohort, seconds, kind)
    assert (predictions(run, cohort) != before).mean() > 0.9


def run_on(root, minutes, value):
    """Let recordings go on for a day with `value`, from `minutes` after the prediction time."""
    labels = pl.read_parquet(root / "labels" / "deterioration.parquet")
    moments = dict(labels.select("subject_id", "prediction_time").rows())
    events = all_rows(root)
    for subject, path in (
        events.drop_nulls("waveform_path").select("subject_id", "waveform_path").iter_rows()
    ):
        with np.load(root / path) as file:
            arrays = dict(file)
        start = datetime.fromisoformat(str(arrays["start"]))
        place = (moments[subject] - start) // timedelta(minutes=1) + minutes
        whole = np.full((1, place + 1440), np.nan, np.float32)
        whole[:, : arrays["signal"].shape[1]] = arrays["signal"]
        whole[:, place:] = value
        np.savez(root / path, **arrays | {"signal": whole})


def test_a_recording_after_the_prediction_time_changes_nothing(recipe, cohort, tmp_path):
    calm, wild, early = (
        shutil.copytree(cohort, tmp_path / name / "tiny") for name in ("calm", "wild", "early")
    )
    for root, minutes, value in ((calm, 1, 1.0), (wild, 1, 5000.0), (early, -60, 5000.0)):
        run_on(root, minutes, value)
    runs = {}
    for root in (calm, wild, early):
        runs[root] = train(recipe(root), AGED)
    assert np.array_equal(predictions(runs[calm], calm), predictions(runs[wild], wild))
    assert weights(runs[calm]) == weights(runs[wild])
    assert weights(runs[early]) != weights(runs[wild])

    said = json.loads((runs[wild] / "limits.json").read_text())["sentences"]
    assert any(
        "recordings that go on after the prediction time, and are cut there" in sentence
        for sentence in said
    )


@pytest.mark.parametrize(
    "overrides", [[], ["cv=3", "cv_repeats=2", "trainer.max_steps=1", "trainer.metric=loss"]]
)
def test_no_subject_is_in_two_splits(recipe, cohort, overrides):
    if overrides:
        (cohort / "metadata" / "subject_splits.parquet").unlink()
    labels = cohort / "labels" / "deterioration.parquet"
    table = pl.read_parquet(labels)
    again = table.with_columns(pl.col("prediction_time").dt.offset_by("3d"))
    pl.concat([table, again]).write_parquet(labels)
    run = train(recipe(cohort), *overrides)
    files = sorted(run.rglob("splits.parquet"))
    assert len(files) == (6 if overrides else 1)
    for file in files:
        splits = pl.read_parquet(file)
        assert splits["subject_id"].is_unique().all()
        assert set(splits["split"]) == {"train", "tuning", "held_out"}
