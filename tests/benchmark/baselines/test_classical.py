"""Baselines on a cohort: the rows, folds and features of the recipe, read by nobody else's code."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier

from clintune.benchmark.baselines.classical import predict_baseline
from clintune.config.compose import compose_recipe
from clintune.contracts import Predictions
from clintune.core.errors import ConfigError, DataError
from clintune.experiment.folds import folds, split_of
from clintune.experiment.open import open_experiment
from helpers.rows_by_hand import all_rows, facts_of

FACTS = ["modalities.static.codes=[AGE]"]


def composed(recipe, *overrides):
    return compose_recipe(recipe(extra="cv: 2\n"), overrides)


def test_boosting_on_facts_is_scikit_learn_on_the_table_itself(recipe, quickstart):
    config = composed(recipe, *FACTS)
    found = predict_baseline(config, "boosting/static", [0.0]).predictions[0.0]["outcome"]

    samples = open_experiment(config).samples
    rows = all_rows(quickstart)
    codes = sorted(rows.filter(pl.col("time").is_null())["code"].unique().to_list())
    table = facts_of(rows, samples.subject_id.tolist(), codes)
    targets = samples.targets("outcome")[:, 0]
    for fold in folds(config, Path(), samples):
        split = split_of(config, samples, fold)
        train, test = split == "train", found.fold == fold.number
        model = HistGradientBoostingClassifier(random_state=0).fit(table[train], targets[train])
        expected = model.predict_proba(table[split == "held_out"])[:, 1]
        np.testing.assert_array_equal(
            found.subject_id[test], samples.subject_id[split == "held_out"]
        )
        np.testing.assert_allclose(found.predicted[test, 0], expected, atol=1e-6)


def test_words_of_held_out_subjects_take_no_part_in_the_fit(recipe, cohort):
    """Change every held-out note: only the held-out predictions may move, and the fit stays."""
    config = compose_recipe(recipe(cohort))
    before = predict_baseline(config, "tfidf", [0.0])
    samples = open_experiment(config).samples
    held_out = set(
        samples.subject_id[
            split_of(config, samples, folds(config, Path(), samples)[0]) == "held_out"
        ].tolist()
    )
    for shard in sorted((cohort / "data").glob("*.parquet")):
        mine = pl.col("subject_id").is_in(held_out) & pl.col("text_value").is_not_null()
        text = pl.when(mine).then(pl.lit("zebra zebra")).otherwise(pl.col("text_value"))
        pl.read_parquet(shard).with_columns(text_value=text).write_parquet(shard)
    after = predict_baseline(config, "tfidf", [0.0])

    assert after.parameters == before.parameters
    assert np.ptp(after.predictions[0.0]["outcome"].predicted) == 0


def test_the_share_missing_is_the_same_for_every_baseline(recipe):
    config = composed(recipe)
    outcome = predict_baseline(config, "late_logistic", [0.0, 0.9])
    whole, thin = (outcome.predictions[share]["outcome"] for share in (0.0, 0.9))
    assert isinstance(whole, Predictions)
    np.testing.assert_array_equal(whole.subject_id, thin.subject_id)
    assert np.abs(whole.predicted - thin.predicted).max() > 0


def test_what_a_recipe_does_not_have_is_refused(recipe, cohort):
    with pytest.raises(ConfigError, match="modality 'imaging' does not have"):
        predict_baseline(composed(recipe), "logistic/imaging", [0.0])
    nobody = ["cohorts.tiny.splits.tuning=0", "cohorts.tiny.splits.held_out=0"]
    (cohort / "metadata" / "subject_splits.parquet").unlink()
    with pytest.raises(DataError, match="no labelled sample is held out"):
        predict_baseline(compose_recipe(recipe(cohort), nobody), "prevalence", [0.0])
