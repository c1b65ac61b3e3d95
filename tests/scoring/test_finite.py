"""An answer that is no finite number is an error of its sample, never a decision."""

import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from meds_evaluation.schema import PredictionSchema

from clintune.config.compose import compose_scoring
from clintune.core.errors import PackageError
from clintune.inference.answerer import only_finite
from clintune.scoring.job import open_job
from clintune.scoring.job_folder import make_job
from clintune.scoring.score import Scorer
from clintune.scoring.score_shards import _score
from clintune.scoring.summarize import finish
from clintune.tasks.calibration import Calibration
from helpers.rows_by_hand import all_rows
from helpers.scored_cohorts import read


def open_and_break(run, quickstart, tmp_path, calibration=None):
    """Return a job with a broken model for those with a certain fact, or a broken calibration."""
    words = ["cohort=meds", f"cohorts.meds.root='{quickstart}'", f"out='{tmp_path / 'out'}'"]
    job = open_job(
        make_job(compose_scoring(str(run), [*words, f"data.cache='{tmp_path / 'cache'}'"]))
    )
    if calibration is not None:
        job = replace(job, predictor=replace(job.predictor, calibrations={"outcome": calibration}))
    return job


def test_a_sample_without_a_finite_answer_is_not_decided(shared_run, quickstart, tmp_path):
    job = open_and_break(shared_run(), quickstart, tmp_path)
    static = job.predictor.members[0].model.encoders["static"]
    sexes = next(
        table for table in static.encoder.children() if isinstance(table, torch.nn.Embedding)
    )
    sex = next(code for code in static.index if code.startswith("SEX//"))
    with torch.no_grad():
        sexes.weight[static.index[sex]] = float("nan")
    (shard,) = job.shards
    _score(job, Scorer(job), shard)
    finish(shard.out, job.shards, job.lacking)

    events = all_rows(quickstart)
    spoiled = set(events.filter(pl.col("code") == sex)["subject_id"])
    table = read(shard.out)
    assert 5 < len(spoiled) < 35
    assert set(table.filter(pl.col("predicted_boolean_value").is_null())["subject_id"]) == spoiled
    assert (
        set(table.filter(pl.col("predicted_boolean_probability").is_null())["subject_id"])
        == spoiled
    )
    assert not table["predicted_boolean_probability"].is_nan().any()
    PredictionSchema.validate(table.to_arrow())
    listed = pl.read_csv(shard.out / "unreadable.csv")
    assert set(listed["subject_id"]) == spoiled
    assert set(listed["reason"]) == {"the answer for outcome is not a finite number"}
    summary = json.loads((shard.out / "summary.json").read_text())
    assert (summary["not_finite"], summary["abstained"]) == (
        {"outcome": len(spoiled)},
        {"outcome": len(spoiled)},
    )


@pytest.mark.parametrize("slope", [float("nan"), float("inf"), -float("inf")])
def test_a_model_without_any_finite_answer_stops_the_job(shared_run, quickstart, tmp_path, slope):
    broken = Calibration(
        exclusive=False,
        slope=(slope,),
        intercept=(float("nan"),),
        floors=((0.0, 0.0),),
        reasons=(None,),
    )
    job = open_and_break(shared_run(), quickstart, tmp_path, broken)
    (shard,) = job.shards
    _score(job, Scorer(job), shard)
    with pytest.raises(PackageError, match="the model answers with a finite number for no sample"):
        finish(shard.out, job.shards, job.lacking)
    assert not (shard.out / "summary.json").exists()
    assert read(shard.out)["predicted_boolean_value"].null_count() == 40


@given(
    arrays(
        np.float32,
        (7, 3),
        elements=st.sampled_from([0.25, 0.5, float("nan"), float("inf"), -float("inf")]),
    ),
    st.booleans(),
)
def test_not_finite_is_nan_and_classes_are_known_together(probabilities, exclusive):
    kept, broken = only_finite(probabilities, exclusive)
    for row, answers in enumerate(probabilities.tolist()):
        whole = all(np.isfinite(answers))
        assert broken[row] == (not whole)
        expected = [
            a if np.isfinite(a) and (whole or not exclusive) else float("nan") for a in answers
        ]
        np.testing.assert_array_equal(kept[row], np.array(expected, np.float32))
