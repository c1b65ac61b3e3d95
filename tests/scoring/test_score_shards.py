"""A job scores each sample once, whoever scores, stops or is killed, and as `evaluate` does."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from meds_evaluation.evaluate import evaluate_binary_classification
from meds_evaluation.schema import PredictionSchema

from clintune.cli import main
from clintune.package.calibrations import write_calibrations
from clintune.package.manifest import write_manifest
from clintune.scoring import score_shards as work
from clintune.scoring.job_folder import done_shards
from clintune.tasks.calibration import Calibration
from conftest import evaluate, run_python
from helpers.rows_by_hand import all_rows
from helpers.scored_cohorts import labels_of, read, risks, samples_of, score, words_of

HALFWAY = """
import sys
import clintune.scoring.score_shards as work
from clintune.cli import main
write = work.write_json
def halting(path, value):
    if path.name == "000001.json":
        print("halfway", flush=True)
        sys.stdin.readline()
    write(path, value)
work.write_json = halting
sys.exit(main(sys.argv[1:]))
"""
"""Stops between the predictions of the second shard and their record."""


@pytest.fixture(scope="module")
def unbroken(run, quickstart, tmp_path_factory):
    """Return the folder of a job that nobody disturbed, in six shards."""
    out = tmp_path_factory.mktemp("unbroken") / "out"
    assert score(run, quickstart, out, "shard_size=7") == 0
    return out


def summary(out):
    return json.loads((out / "summary.json").read_text())


def files(out):
    return {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}


def test_each_sample_stands_once_and_nothing_else_is_left(unbroken, quickstart):
    columns = ["subject_id", "prediction_time", "boolean_value"]
    labels = labels_of(quickstart).sort("subject_id", "prediction_time")
    assert read(unbroken).select(columns).rows() == labels.select(columns).rows()

    names = [f"{number:06d}" for number in range(6)]
    assert files(unbroken) == {
        "job.yaml", "summary.json", "status.json", "logs/messages.log",
        *(
            f"{folder}/outcome/{name}.parquet"
            for folder in ("predictions", "predictions_raw")
            for name in names
        ),
        *(f"shards/{name}.json" for name in names),
        *(f"shards/{name}" for name in ("origin.json", "origin.json.lock", "summary.json.lock")),
    }  # fmt: skip

    told = summary(unbroken)
    assert (told["samples"], told["unreadable"], told["abstained"]) == (40, 0, {"outcome": 0})


def test_every_file_keeps_the_prediction_schema(unbroken):
    for path in (unbroken / "predictions" / "outcome").glob("*.parquet"):
        PredictionSchema.validate(pl.read_parquet(path).to_arrow())
    scores = evaluate_binary_classification(read(unbroken))
    assert "roc_auc_score" in scores["samples_equally_weighted"]


def test_predictions_are_those_of_evaluate(unbroken, run, tmp_path):
    copy = Path(shutil.copytree(run, tmp_path / "run"))
    evaluate(copy)
    theirs = pl.read_parquet(copy / "predictions" / "held_out" / "outcome.parquet")
    both = theirs.join(read(unbroken), on=["subject_id", "prediction_time"], suffix="_scored")
    assert len(both) == len(theirs)

    name = "predicted_boolean_probability"
    one, two = both[name].to_numpy(), both[f"{name}_scored"].to_numpy()
    np.testing.assert_allclose(one, two, rtol=0, atol=1e-6)


def test_sizes_of_shards_and_batches_change_nothing(unbroken, run, quickstart, tmp_path):
    assert score(run, quickstart, tmp_path / "out", "batch_size=3") == 0
    np.testing.assert_allclose(risks(tmp_path / "out"), risks(unbroken), rtol=0, atol=1e-6)


def test_members_of_an_ensemble_are_averaged(shared_run, quickstart, tmp_path):
    run = shared_run("ensemble=2", "trainer.max_steps=2")
    members = [run / "package" / f"member-{number}" for number in range(2)]
    for package, name in [(run, "both"), *zip(members, "ab", strict=True)]:
        assert score(package, quickstart, tmp_path / name) == 0
    both, a, b = (risks(tmp_path / name) for name in ("both", "a", "b"))
    assert not np.allclose(a, b, atol=1e-4)
    np.testing.assert_allclose(both, (a + b) / 2, atol=1e-6)


def test_where_the_model_abstains_there_is_no_decision(unbroken, run, quickstart, tmp_path):
    raw = risks(unbroken)[:, None]
    calibration = Calibration(
        exclusive=False, slope=(2.0,), intercept=(0.5,), floors=((0.0, 0.0),), reasons=(None,)
    )
    calibrated = calibration.apply(raw)

    # Of those above the middle, both answers are possible.
    middle = float(np.sort(calibrated[:, 0])[19:21].mean())
    calibration = replace(calibration, floors=((0.0, middle),))
    copy = Path(shutil.copytree(run, tmp_path / "run"))
    write_calibrations(copy / "calibration.json", {"outcome": calibration})
    assert score(copy, quickstart, tmp_path / "out") == 0
    np.testing.assert_allclose(risks(tmp_path / "out"), calibrated[:, 0], atol=1e-6)

    withheld = calibration.abstains(calibrated)[:, 0]
    assert withheld.sum() == 20
    decided = np.where(withheld, None, calibrated[:, 0] >= 0.5)
    table = read(tmp_path / "out")
    assert table["predicted_boolean_value"].to_list() == decided.tolist()
    assert summary(tmp_path / "out")["abstained"] == {"outcome": int(withheld.sum())}
    PredictionSchema.validate(table.to_arrow())


def test_what_cannot_be_read_is_listed_and_withheld(run, cohort, tmp_path):
    events = all_rows(cohort)
    seen = (
        events.drop_nulls("image_path")
        .join(samples_of(cohort), on="subject_id")
        .filter(pl.col("time") <= pl.col("prediction_time"))
    )
    subject, path = seen.select("subject_id", "image_path").row(0)
    (cohort / path).write_bytes(b"no image")
    assert score(run, cohort, tmp_path / "out") == 0

    listed = pl.read_csv(tmp_path / "out" / "unreadable.csv")
    assert listed.columns == ["subject_id", "prediction_time", "modality", "row", "reason"]
    assert listed.select("subject_id", "modality").rows() == [(subject, "imaging")]
    assert listed["row"][0].startswith("data/")
    assert listed["row"][0] not in listed["reason"][0]

    table = read(tmp_path / "out")
    assert len(table) == 40
    assert table["predicted_boolean_probability"].null_count() == 0
    withheld = table.filter(pl.col("predicted_boolean_value").is_null())
    assert withheld["subject_id"].to_list() == [subject]
    told = summary(tmp_path / "out")
    assert (told["unreadable"], told["abstained"]) == (1, {"outcome": 1})


def test_a_sample_of_which_there_is_nothing_is_withheld(run, cohort, tmp_path):
    samples = samples_of(cohort)
    subject = samples["subject_id"][0]
    for shard in (cohort / "data").glob("*.parquet"):
        static = (pl.col("subject_id") == subject) & pl.col("time").is_null()
        pl.read_parquet(shard).filter(~static).write_parquet(shard)

    time = pl.col("prediction_time")
    early = pl.when(pl.col("subject_id") == subject).then(time.dt.offset_by("-9y")).otherwise(time)
    samples.with_columns(early).write_parquet(tmp_path / "times")
    assert score(run, cohort, tmp_path / "out", f"times={tmp_path / 'times'}") == 0

    listed = pl.read_csv(tmp_path / "out" / "unreadable.csv")
    assert listed.select("subject_id", "modality", "row", "reason").rows() == [
        (subject, None, None, "there is nothing of this sample to read")
    ]
    withheld = read(tmp_path / "out").filter(pl.col("predicted_boolean_value").is_null())
    assert withheld["subject_id"].to_list() == [subject]


def test_a_mount_that_is_missing_stops_the_job_in_one_line(run, cohort, tmp_path, capsys):
    (cohort / "images").rename(cohort / "unmounted")
    assert score(run, cohort, tmp_path / "out") == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("clintune: modalities.imaging: ")
    assert (
        "items of a shard are unreadable, more than data.max_bad_fraction=0.1 allows; "
        "the first is data/" in said
    )
    listed = pl.read_csv(tmp_path / "out" / "unreadable.csv")
    assert said.endswith(f"; they are listed in {tmp_path / 'out' / 'unreadable.csv'}")
    assert f" {len(listed)} of " in said
    assert listed.columns == ["modality", "row", "reason"]
    assert not list((tmp_path / "out").rglob("predictions/**/*.parquet"))


def test_a_finished_job_says_so_and_does_nothing(unbroken, run, quickstart, capfd):
    before = {name: (unbroken / name).stat().st_mtime_ns for name in files(unbroken) - {"job.yaml"}}
    assert score(run, quickstart, unbroken, "shard_size=7") == 0
    printed = capfd.readouterr()
    assert printed.out == f"{unbroken}\n"
    assert printed.err == f"{unbroken} is finished; nothing is left to do\n"
    assert before == {
        name: (unbroken / name).stat().st_mtime_ns for name in files(unbroken) - {"job.yaml"}
    }


def begin(run, root, out):
    """Start a job that stops in its second shard; return the process, which holds that shard."""
    words = words_of(run, root, out, "shard_size=7")
    process = subprocess.Popen(
        [sys.executable, "-c", HALFWAY, *words],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")},
    )  # fmt: skip
    assert process.stdout.readline() == "halfway\n", process.stderr.read()
    return process


def test_a_killed_job_leaves_its_shard_to_another(
    unbroken, run, quickstart, tmp_path, monkeypatch, capfd
):
    out = tmp_path / "out"
    holder = begin(run, quickstart, out)
    left = []

    def sleep(seconds):
        """Kill the holder once this process has nothing left to do but wait for it."""
        left.append({path.stem for path in unbroken.glob("shards/0*.json")} - done_shards(out))
        holder.kill()
        holder.communicate()

    monkeypatch.setattr(
        "clintune.scoring.score_shards.time", SimpleNamespace(sleep=sleep, monotonic=time.monotonic)
    )
    assert main(["predict", "--resume", str(out)]) == 0
    assert left == [{"000001"}]
    assert capfd.readouterr().out == f"{out}\n"
    assert read(out).equals(read(unbroken))
    assert files(out) == files(unbroken)


def test_who_is_told_to_stop_says_how_to_go_on_to_the_same_bits(
    unbroken, run, quickstart, tmp_path, monkeypatch, capsys
):
    out, write = tmp_path / "out", work.write_json

    def told(path, value):
        if path.name == "000001.json":
            signal.raise_signal(signal.SIGTERM)
        write(path, value)

    with monkeypatch.context() as patch:
        patch.setattr(work, "write_json", told)
        assert score(run, quickstart, out, "shard_size=7") == 128 + signal.SIGTERM
    said = capsys.readouterr().err
    assert said.endswith(f"stopped by SIGTERM; go on with `clintune predict --resume {out}`\n")
    assert main(["predict", "--resume", str(out)]) == 0
    assert read(out).equals(read(unbroken))
    assert files(out) == files(unbroken)


@pytest.mark.slow
def test_several_processes_share_the_shards(unbroken, run, quickstart, tmp_path):
    out = tmp_path / "out"
    words = words_of(run, quickstart, out, "shard_size=7", "cluster.processes=2")
    done = run_python("-m", "clintune.cli", *words)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{out}\n"
    assert read(out).equals(read(unbroken))


def test_a_job_refused_before_it_began_leaves_its_folder(run, quickstart, tmp_path, capsys):
    out = tmp_path / "out"
    changed, foreign = (
        Path(shutil.copytree(run / "package", tmp_path / name)) for name in ("changed", "foreign")
    )
    tensors = changed / "parts.safetensors"
    tensors.write_bytes(tensors.read_bytes()[:-1] + b"?")
    about = foreign / "clintune.yaml"
    about.write_text(about.read_text().replace("clintune.tasks.binary.Binary", "os.system"))
    write_manifest(foreign)

    for package, root, says in [
        (tmp_path / "nowhere", quickstart, "no such folder"),
        (changed, quickstart, "parts.safetensors is missing or changed"),
        (foreign, quickstart, "_target_ os.system is of no trusted module"),
        (run, tmp_path / "nowhere", "nowhere"),
    ]:
        assert score(package, root, out) == 2
        assert says in capsys.readouterr().err
        assert not out.exists()

    assert score(run, quickstart, out) == 0
    assert len(read(out)) == 40


@pytest.mark.parametrize("changed", ["cohort", "calibration"])
def test_a_job_does_not_go_on_with_another_cohort_or_package(
    run, cohort, tmp_path, capsys, changed
):
    out = tmp_path / "out"
    assert score(run, cohort, out, "shard_size=7") == 0
    (out / "summary.json").unlink()
    (out / "shards" / "000003.json").unlink()

    if changed == "cohort":
        labels = cohort / "labels" / "deterioration.parquet"
        pl.read_parquet(labels).head(30).write_parquet(labels)
    else:
        path = out / "shards" / "origin.json"
        origin = json.loads(path.read_text()) | {"calibration_sha256": "another"}
        path.write_text(json.dumps(origin))

    assert score(run, cohort, out, "shard_size=7") == 2
    remedy = "restore it, or score into a new folder"
    said = f"{changed} is not as it was when the job began; {remedy}"
    assert said in capsys.readouterr().err
    assert done_shards(out) == {f"{number:06d}" for number in (0, 1, 2, 4, 5)}
