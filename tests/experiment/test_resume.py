"""A run that goes on: what may change, what stays and is kept; one job at a time holds it."""

import json
import re
import shutil
import socket
import subprocess
import sys
from dataclasses import replace

import polars as pl
import pytest

from clintune.cli import main
from clintune.config.compose import compose_recipe, load_config
from clintune.core.errors import ConfigError
from clintune.experiment.resume import changes_between, check_changes, held
from clintune.verbs.train import train as train_verb
from conftest import evaluate, run_python, train, weights
from helpers.folders import contents

HOLD = """
import sys, time
from pathlib import Path
from clintune.experiment.resume import held
with held(Path(sys.argv[1]), "trained"):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def finished(shared_run, tmp_path):
    """Return a copy of a run of two steps."""
    return shutil.copytree(shared_run("trainer.max_steps=2", "trainer.average=0"), tmp_path / "run")


@pytest.fixture
def stopped(finished):
    """Return a run killed between its last checkpoint, after two steps, and its package."""
    shutil.rmtree(finished / "package")
    status = json.loads((finished / "status.json").read_text())
    (finished / "status.json").write_text(json.dumps(status | {"state": "preempted"}))
    return finished


def test_a_finished_run_is_not_written_to(finished, capsys):
    before = contents(finished)
    assert main(["train", "--resume", str(finished), "trainer.lr=0.5", "adapter.r=64"]) == 2
    assert (
        "the run is finished, and adapter.r, trainer.lr would change it; train anew"
        in capsys.readouterr().err
    )
    for words in ([], ["trainer.workers=0", "cluster.memory=4G"], ["adapter.r=8"]):
        assert main(["train", "--resume", str(finished), *words]) == 0
        said = capsys.readouterr()
        assert "is finished; nothing is left to do" in said.err
        assert said.out == f"{finished}\n"
    assert contents(finished) == before


def test_a_run_goes_on_with_what_may_change_and_keeps_a_trace(stopped, capsys):
    words = [
        "trainer.max_steps=4",
        "trainer.lr=1e-4",
        "trainer.head_lr=1e-3",
        "trainer.micro_batch_size=8",
    ]
    assert main(["train", "--resume", str(stopped), *words]) == 0
    assert "trainer.lr: 0.001 -> 0.0001" in capsys.readouterr().err
    assert [
        json.loads(line)["step"] for line in (stopped / "history.jsonl").read_text().splitlines()
    ] == [1, 2, 3, 4]

    trainer = load_config(stopped / "recipe.yaml").trainer
    assert (trainer.max_steps, trainer.lr, trainer.head_lr) == (4, 1e-4, 1e-3)

    (resumed,) = json.loads((stopped / "provenance.json").read_text())["resumed"]
    assert resumed["step"] == 2
    assert resumed["changes"]["trainer.lr"] == {"before": 1e-3, "now": 1e-4}
    assert resumed["changes"].keys() == {word.partition("=")[0] for word in words}

    evaluate(stopped)
    told = (
        "After step 2 training went on with other settings: "
        "trainer.max_steps 4 (before: 2), trainer.lr 0.0001"
    )
    assert told in (stopped / "report.html").read_text()


@pytest.mark.parametrize("verb", ["evaluate", "publish", "train --resume"])
def test_a_recipe_that_was_edited_is_refused(finished, verb, capsys):
    recipe = finished / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("r: 8", "r: 9"))
    assert main([*verb.split(), str(finished)]) == 2
    assert (
        "recipe.yaml: is not as the run wrote it; restore it, and give changes in the"
        in capsys.readouterr().err
    )


def test_splits_that_were_edited_are_refused(finished, capsys):
    path = finished / "splits.parquet"
    table = pl.read_parquet(path)
    other = pl.col("split").replace({"train": "held_out", "held_out": "train"})
    table.with_columns(other).write_parquet(path, metadata=pl.read_parquet_metadata(path))
    assert main(["evaluate", str(finished)]) == 2
    assert (
        "splits.parquet: is not as the run wrote it; restore it, or train anew"
        in capsys.readouterr().err
    )
    path.write_bytes(path.read_bytes()[:-9])
    assert main(["evaluate", str(finished)]) == 2
    assert "splits.parquet: cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["provenance.json", "limits.json"])
def test_a_damaged_record_is_named(finished, name, capsys):
    (finished / name).write_text("{")
    assert main(["evaluate", str(finished)]) == 2
    assert (
        f"{finished / name}: is damaged, no JSON any more; restore it, or start anew"
        in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    "override",
    [
        "adapter.r=16",
        "backbone.max_tokens=9",
        "modalities.static.width=16",
        "tasks.outcome.weight=2",
        "cohorts.tiny.splits.seed=3",
        "seed=1",
        "ensemble=2",
        "cv=5",
        "name=other",
        "model.readout=null",
        "trainer.batch_size=4",
        "trainer.average=0.5",
        "trainer.metric=loss",
    ],
)
def test_what_is_built_into_the_weights_is_refused_by_name(stopped, override, capsys):
    recipe = (stopped / "recipe.yaml").read_bytes()
    assert main(["train", "--resume", str(stopped), override, "trainer.lr=0.5"]) == 2
    assert (
        f"--resume: {override.partition('=')[0]} cannot change in a run that has begun"
        in capsys.readouterr().err
    )
    assert (stopped / "recipe.yaml").read_bytes() == recipe


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("trainer.max_steps=1", "trainer.max_steps=1 is not more than the 2 steps trained"),
        ("trainer.patient=3", "key 'trainer.patient' does not exist; did you mean 'patience'?"),
        ("trainer.patience", "'trainer.patience' is no KEY=VALUE"),
        (
            "+trainer.patience=3",
            "'+trainer.patience=3' is no KEY=VALUE; give a key that is there its value",
        ),
        ("trainer.patience=[", "cannot be read; close brackets and quotes"),
        ("cluster=slurm", "'cluster' is slurm; give its keys, as cluster.KEY=VALUE"),
        ("modalities.static.max_piece=3", "did you mean 'max_pieces'"),
    ],
)
def test_words_that_cannot_be_meant_are_refused(stopped, word, says):
    with pytest.raises(ConfigError, match=re.escape(says)):
        train_verb(["--resume", str(stopped), word])


def test_members_are_trained_as_the_finished_one_was(stopped):
    (stopped / "package" / "member-0").mkdir(parents=True)
    before = load_config(stopped / "recipe.yaml")
    now = replace(before, trainer=replace(before.trainer, lr=0.5))
    with pytest.raises(
        ConfigError, match=r"trainer\.lr cannot change once a model is trained \(package\)"
    ):
        check_changes(stopped, before, now)
    now = replace(before, trainer=replace(before.trainer, workers=1))
    assert check_changes(stopped, before, now) == {"trainer.workers": (None, 1)}


def test_a_resume_that_fails_leaves_the_recipe(stopped, capsys):
    (checkpoint,) = (stopped / "checkpoints").glob("step-*")
    shutil.move(checkpoint / "trainable.safetensors", stopped / "kept")
    recipe = (stopped / "recipe.yaml").read_bytes()
    assert main(["train", "--resume", str(stopped), "trainer.lr=0.5", "trainer.max_steps=3"]) == 1
    assert "trainable.safetensors" in capsys.readouterr().err
    assert (stopped / "recipe.yaml").read_bytes() == recipe
    shutil.move(stopped / "kept", checkpoint / "trainable.safetensors")
    assert main(["train", "--resume", str(stopped)]) == 0


def test_differences_are_told_by_key_and_lists_are_values(recipe):
    one = compose_recipe(recipe())
    two = compose_recipe(recipe(), ["trainer.lr=0.5", "modalities.static.codes=[AGE]"])
    assert changes_between(one, one) == {}
    assert changes_between(one, two).keys() == {"trainer.lr", "modalities.static.codes"}


def test_one_job_holds_a_run_and_leftovers_are_swept(stopped, shared_run, capsys):
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, stopped], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        before = (stopped / "status.json").read_bytes()
        refused = {}
        for verb in ("train --resume", "evaluate"):
            refused[verb] = main([*verb.split(), str(stopped)]), capsys.readouterr().err
        after = (stopped / "status.json").read_bytes()
        holder.kill()
    who = f"process {holder.pid} of host {socket.gethostname()}"
    for code, said in refused.values():
        assert code == 2
        assert f"{stopped}: is being trained by {who}; wait for its end" in said
    assert after == before

    left = [
        stopped / f".package.{'x' * 8}.partial",
        stopped / "checkpoints" / f".step-00000004.{'y' * 8}.partial",
    ]
    for folder in left:
        folder.mkdir()
        (folder / "half").touch()
    assert main(["train", "--resume", str(stopped)]) == 0
    assert not any(folder.exists() for folder in left)
    assert weights(stopped) == weights(shared_run("trainer.max_steps=2", "trainer.average=0"))


def test_processes_of_a_job_share_what_the_main_one_holds(tmp_path, monkeypatch):
    with held(tmp_path, "trained"):
        with (
            pytest.raises(ConfigError, match="is being trained by process"),
            held(tmp_path, "evaluated"),
        ):
            pass
        monkeypatch.setenv("RANK", "1")
        with held(tmp_path, "trained"):
            pass


@pytest.mark.slow
def test_an_override_reaches_the_processes_that_a_resume_starts(recipe, tmp_path):
    run = train(recipe(), "trainer.max_steps=2", "model.modality_dropout=0")
    shutil.rmtree(run / "package")
    words = ["cluster.processes=2", "trainer.max_steps=3", "trainer.micro_batch_size=2"]
    done = run_python("-m", "clintune.cli", "train", "--resume", str(run), *words)
    assert done.returncode == 0, done.stderr[-3000:]
    assert len((run / "history.jsonl").read_text().splitlines()) == 3
    assert load_config(run / "recipe.yaml").trainer.max_steps == 3


def test_a_package_without_its_manifest_is_not_finished(finished, capsys):
    (finished / "package" / "MANIFEST.json").unlink()
    assert main(["train", "--resume", str(finished)]) == 2
    assert (
        "package: MANIFEST.json is missing; restore the package, or remove it and resume"
        in capsys.readouterr().err
    )
