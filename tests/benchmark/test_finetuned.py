"""clintune's own models: they predict as an evaluation does, and what was fitted is counted."""

import numpy as np
import polars as pl
import pytest
from meds.schema import birth_code

from clintune.benchmark.finetuned import predict_finetuned
from clintune.config.compose import compose_recipe
from clintune.evaluation.predictions import read_predictions
from conftest import evaluate
from helpers.rows_by_hand import all_rows


@pytest.mark.parametrize("changes", [[], ["model.zero_fill=true"]])
def test_predictions_are_an_evaluations_if_nothing_is_missing(recipe, tmp_path, changes):
    config = compose_recipe(recipe(), ["trainer.metric=loss", "trainer.max_steps=2", *changes])
    run = tmp_path / "run"
    outcome = predict_finetuned(config, run, [0.0, 0.7])
    evaluate(run)
    whole, thin = (outcome.predictions[share]["outcome"] for share in (0.0, 0.7))
    expected = read_predictions(
        run / "predictions_raw" / "held_out", "outcome", outcome.tasks["outcome"]
    )
    np.testing.assert_allclose(whole.predicted, expected.predicted, atol=1e-6)
    np.testing.assert_array_equal(whole.subject_id, thin.subject_id)
    assert np.abs(whole.predicted - thin.predicted).max() > 0
    assert outcome.fit_seconds > 0
    assert not list(run.rglob("checkpoints"))


def test_a_probe_counts_its_own_weights_alone(recipe, tmp_path, quickstart):
    rows = all_rows(quickstart)
    splits = pl.read_parquet(quickstart / "metadata" / "subject_splits.parquet")
    facts = rows.filter(pl.col("time").is_null() | (pl.col("code") == birth_code))
    training = facts.join(splits.filter(split="train"), on="subject_id", how="semi")
    subjects = training.group_by("code").agg(pl.col("subject_id").n_unique())["subject_id"]
    common, rare = int((subjects >= 11).sum()), int((subjects < 11).any())
    config = compose_recipe(recipe(), ["trainer.max_steps=0", "model.readout=probe"])
    outcome = predict_finetuned(config, tmp_path / "run", [0.0])
    # The notes' width; a value and a mark a code, a mark for all rare ones; the bias.
    assert outcome.parameters == 16 + 2 * common + rare + 1
