"""A sample gets the same answer from every door, whatever the batch it came in."""

import os
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import clintune
from clintune.cli import main
from conftest import evaluate, grow_trees, train, write_recipe
from helpers.tuned_cohorts import write_tuned

KEYS = ["subject_id", "prediction_time"]
PROBABILITY = "predicted_boolean_probability"
STEPS = "trainer.max_steps=6"
RUNS = {
    "plain": [STEPS],
    "averaged": [STEPS, "ensemble=2", "model.average_views=true", "modalities.imaging.views=3"],
    "bf16": [STEPS, "trainer.precision=bf16"],
    "boosted": ["trainer.max_steps=0", "model.readout=boosted"],
}
TOLERANCE = {"plain": 1e-5, "averaged": 1e-5, "bf16": 2e-2, "boosted": 1e-5}


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """Return a cohort with enough tuning subjects of both answers; a third lacks images."""
    root = tmp_path_factory.mktemp("large") / "cohort"
    write_tuned(root, subjects=120)

    for shard in (root / "data").glob("*.parquet"):
        blind = (pl.col("subject_id") % 3 == 0) & pl.col("image_path").is_not_null()
        pl.read_parquet(shard).filter(~blind).write_parquet(shard)
    return root


@pytest.fixture(scope="module", params=RUNS)
def run(request, large, tmp_path_factory):
    """Return an evaluated run, and how far two answers to a sample may be apart."""
    folder = tmp_path_factory.mktemp(request.param)
    with pytest.MonkeyPatch.context() as patch:
        grow_trees(patch)
        run = train(write_recipe(folder, large, folder / "cache"), *RUNS[request.param])
    evaluate(run)
    return run, TOLERANCE[request.param]


def events_of(root):
    shards = sorted((root / "data").glob("*.parquet"))
    return pl.concat([pl.read_parquet(path) for path in shards])


def labels_of(root):
    return pl.read_parquet(root / "labels" / "deterioration.parquet").select(KEYS).sort(KEYS)


def read(folder):
    """Return a split's answers, or a scored cohort's, from files, under the table's names."""

    def table(name):
        paths = sorted(Path(folder).glob(name))
        return pl.concat([pl.read_parquet(path) for path in paths])

    calibrated, raw = table("predictions/**/*.parquet"), table("predictions_raw/**/*.parquet")
    raw = raw.select(*KEYS, pl.col(PROBABILITY).alias(f"{PROBABILITY}_raw"))
    assert calibrated.columns.count(PROBABILITY) == 1
    return calibrated.join(raw, on=KEYS).rename(
        {
            name: f"outcome/{name}"
            for name in (PROBABILITY, f"{PROBABILITY}_raw", "predicted_boolean_value")
        }
    )


def check_alike(mine, theirs, tolerance):
    """Hold answers against those of another door, to the same samples or some of them."""
    both = mine.join(theirs, on=KEYS, suffix="_theirs")
    assert len(both) == min(len(mine), len(theirs))
    for name in (f"outcome/{PROBABILITY}", f"outcome/{PROBABILITY}_raw"):
        one, other = both[name].to_numpy(), both[f"{name}_theirs"].to_numpy()
        np.testing.assert_allclose(one, other, rtol=0, atol=tolerance)
    if tolerance < 1e-3:
        assert both["outcome/predicted_boolean_value"].equals(
            both["outcome/predicted_boolean_value_theirs"], null_equal=True
        )


def test_every_door_gives_a_sample_the_same_answer(run, large, tmp_path):
    run, tolerance = run
    model, events, labels = clintune.load(run), events_of(large), labels_of(large)
    rows = model.predict(events, at=labels, root=large)
    assert rows.select(KEYS).equals(labels)
    assert np.abs(rows[f"outcome/{PROBABILITY}"] - rows[f"outcome/{PROBABILITY}_raw"]).max() > 1e-3

    check_alike(model.predict(cohort=large), rows, tolerance)
    check_alike(
        model.predict(events.to_pandas(), at=labels.to_pandas(), root=large), rows, tolerance
    )
    check_alike(model.predict(events, at=labels, root=large, batch_size=7), rows, tolerance)
    check_alike(
        read(run).filter(pl.col("subject_id").is_in(labels["subject_id"].implode())),
        rows,
        tolerance,
    )

    words = [
        f"cohort={large}",
        f"out={tmp_path / 'out'}",
        f"data.cache={tmp_path / 'cache'}",
        "shard_size=50",
    ]
    assert main(["predict", str(run), *words]) == 0
    check_alike(read(tmp_path / "out"), rows, tolerance)


def test_a_patient_alone_gets_the_answer_of_the_ward(run, large):
    run, tolerance = run
    model, events, labels = clintune.load(run), events_of(large), labels_of(large)
    ward = model.predict(events, at=labels, root=large)
    for subject, moment in labels.head(5).rows():
        own = events.filter(pl.col("subject_id") == subject)
        alone = model.predict(own, at=moment, root=large)
        assert len(alone) == 1
        check_alike(alone, ward, tolerance)


def test_a_later_row_changes_no_answer(shared_run, quickstart):
    model, events, labels = (
        clintune.load(shared_run()),
        events_of(quickstart),
        labels_of(quickstart),
    )
    known = events.join(labels, on="subject_id")
    known = known.filter(pl.col("time").is_null() | (pl.col("time") <= pl.col("prediction_time")))
    late = known.filter(pl.col("time").is_not_null()).with_columns(
        time=pl.col("prediction_time").dt.offset_by("1us"), numeric_value=pl.lit(9e5, pl.Float32)
    )
    known, late = (table.drop("prediction_time") for table in (known, late))
    before = model.predict(known, at=labels, root=quickstart)
    after = model.predict(pl.concat([late, known]), at=labels, root=quickstart)
    assert after.equals(before, null_equal=True)


def test_what_a_sample_lacks_is_named(shared_run, large):
    answers = clintune.load(shared_run()).predict(cohort=large)
    blind = answers.filter(pl.col("subject_id") % 3 == 0)
    assert blind["lacks"].list.contains("imaging").all()
    assert answers["lacks"].list.contains("static").any() is False


def test_no_row_of_a_patient_is_written(shared_run, quickstart, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("CLINTUNE_CACHE", str(tmp_path))
    model = clintune.load(shared_run())
    before = {path: path.stat().st_mtime_ns for path in quickstart.rglob("*")}
    model.predict(events_of(quickstart), at=labels_of(quickstart), root=quickstart)
    model.predict(cohort=quickstart, times="last")
    assert list(tmp_path.rglob("*")) == []
    assert {path: path.stat().st_mtime_ns for path in quickstart.rglob("*")} == before


def test_times_of_a_cohort_are_those_of_the_command(shared_run, quickstart, tmp_path):
    model, labels = clintune.load(shared_run()), labels_of(quickstart)
    last = model.predict(cohort=quickstart, times="last")
    timed = (
        events_of(quickstart).group_by("subject_id").agg(pl.col("time").max()).sort("subject_id")
    )
    assert last["prediction_time"].to_list() == timed["time"].to_list()
    assert (
        model.predict(events_of(quickstart), root=quickstart).select(KEYS).equals(last.select(KEYS))
    )

    labels.head(3).write_parquet(tmp_path / "times.parquet")
    found = model.predict(cohort=quickstart, times=tmp_path / "times.parquet")
    assert found.select(KEYS).equals(labels.head(3))


def test_a_package_without_its_run_answers_alike(shared_run, quickstart, tmp_path):
    run = shared_run()
    package = shutil.copytree(run / "package", tmp_path / "package")
    one, other = (
        clintune.load(os.fspath(folder)).predict(cohort=quickstart) for folder in (run, package)
    )
    assert one.equals(other, null_equal=True)
