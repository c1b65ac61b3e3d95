"""Promise 1: nothing from after the prediction time and nobody in two splits reaches training or evaluation."""

import numpy as np
import polars as pl
import pytest
import torch
from accelerate import Accelerator

from clintune.config.compose import load_config
from clintune.evaluation.predict import predict_member
from clintune.package.load import load_package
from clintune.training.prepare import fill_caches
from clintune.training.workspace import open_workspace
from conftest import KINDS, plant, train, weights

AGED = "modalities.static.codes=[AGE]"


def predictions(run):
    """Return the risk of every sample by the run's package on the data as they are now."""
    workspace = open_workspace(load_config(run / "recipe.yaml"))
    package, rows = load_package(run / "package"), np.arange(len(workspace.samples))
    encoders = package.model.encoders
    caches, _ = fill_caches(workspace, encoders, package.statistics, rows, torch.device("cpu"))
    everything = {"all": frozenset(encoders)}
    settings = {"batch_size": 8, "accelerator": Accelerator(cpu=True)}
    return predict_member(package, caches, workspace.samples, rows, everything, **settings)["all"]["outcome"]


def test_an_item_a_second_after_the_prediction_time_changes_neither_predictions_nor_training(recipe, cohort):
    run = train(recipe(cohort), AGED)
    before = predictions(run)
    plant(cohort, 1, *KINDS)
    assert np.array_equal(predictions(run), before)
    assert weights(train(recipe(cohort), AGED)) == weights(run)


@pytest.mark.parametrize("seconds", [0, -1])
@pytest.mark.parametrize("kind", KINDS)
def test_an_item_known_by_the_prediction_time_does_change_predictions(recipe, cohort, kind, seconds):
    run = train(recipe(cohort), AGED)
    before = predictions(run)
    plant(cohort, seconds, kind)
    assert (predictions(run) != before).mean() > 0.9


@pytest.mark.parametrize("overrides", [[], ["cv=3", "cv_repeats=2", "trainer.max_steps=1", "trainer.metric=loss"]])
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
