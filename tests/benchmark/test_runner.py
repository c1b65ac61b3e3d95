"""A benchmark with real processes: killed, resumed, with a broken method and a missing one."""

import contextlib
import json
import signal
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import polars as pl
import pytest

from clintune.benchmark.trials import ABOUT
from clintune.cli import main
from helpers.peer_stand_in import stand_in

SUITE = """# A tiny suite.
experiments:
  tiny:
    recipe: RECIPE
    baselines: [logistic/static, logistic/imaging, autogluon, pyhealth]
clintune: {lora: [trainer.max_steps=20]}
seeds: [0]
"""
PEER = """
def fit(train, tuning, settings):
    return lambda rows: rows.notna().mean(axis=1) * train["label"].mean(), 1
"""


def words(suite, out):
    return ["benchmark", str(suite), f"out={out}", "trainer.metric=loss"]


def finished(out):
    return {
        path.parent: path.stat().st_mtime_ns
        for path in (out / "trials").glob(f"tiny/*/*/*/{ABOUT}")
    }


@pytest.fixture
def suite(recipe, tmp_path):
    path = tmp_path / "tiny_suite.yaml"
    path.write_text(SUITE.replace("RECIPE", str(recipe(extra="cv: 2\n"))))
    return path


def test_missing_data_are_said_once_before_anything_is_made(tmp_path, capsys):
    out = tmp_path / "out"
    words = [
        f"data.raw={tmp_path}",
        f"data.cache={tmp_path / 'cache'}",
        "methods=[logistic]",
        "seeds=[0]",
    ]
    assert main(["benchmark", "real", f"out={out}", *words]) == 2

    said = capsys.readouterr().err
    assert said.startswith(
        f"clintune: benchmark: cohorts.covid_cxr.source.raw: {tmp_path}/covid_cxr is missing; set"
    )
    assert f"cohorts.depresjon.source.raw: {tmp_path}/depresjon is missing" in said
    assert said.count("\n") == 1
    assert not out.exists()


@pytest.mark.slow
def test_an_experiment_without_data_fails_for_what_needs_it(suite, tmp_path, capfd, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2] / "src"))
    text = suite.read_text()
    tiny = text[text.index("  tiny:") : text.index("clintune:")]
    lost = tiny.replace("tiny:", "lost:").replace(
        "baselines:", "overrides: [cohorts.tiny.root=/nowhere]\n    baselines:"
    )
    suite.write_text(text.replace("clintune:", f"{lost}clintune:"))
    assert (
        main([*words(suite, tmp_path / "out"), "methods=[logistic/static,logistic/imaging]"]) == 1
    )

    said = capfd.readouterr().err
    reason = "cohorts.tiny.root: /nowhere is not a folder; correct the path or name a `source`"
    assert f"\nlost: {reason}" in said
    assert f"\nlost logistic/static seed 0 and 1 more: {reason}" in said
    assert said.count(reason) == 2
    assert (
        said.splitlines()[-1]
        == "clintune: 3 of 10 trials failed; the same command tries them again"
    )


@pytest.mark.slow
def test_a_killed_benchmark_goes_on_and_says_what_failed(suite, tmp_path, monkeypatch, capfd):
    out = tmp_path / "out"
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2] / "src"))
    monkeypatch.setenv("CLINTUNE_PEERS", str(tmp_path / "peers"))
    program = [sys.executable, "-m", "clintune.cli", *words(suite, out)]
    first = subprocess.Popen(program, stderr=subprocess.PIPE, text=True)
    for line in first.stderr:  # until the first trial is done and the one of the model has begun
        if "logistic/imaging" in line:
            break
    while not list((out / "runs").glob("tiny/all/lora/*/folds/0-0/checkpoints/step-*")):
        with contextlib.suppress(subprocess.TimeoutExpired):
            assert first.wait(0.05) is None
    first.send_signal(signal.SIGKILL)
    first.wait()
    first.stderr.close()
    (kept,) = finished(out).items()

    stand_in(tmp_path, "autogluon", PEER)
    assert main(words(suite, out)) == 1
    printed, said = capfd.readouterr()
    assert (
        said.splitlines()[-1] == "clintune: 1 of 5 trials failed; the same command tries them again"
    )
    assert "tiny logistic/imaging seed 0: this baseline reads a frozen encoder" in said
    assert said.count("left out: pyhealth: not installed; run scripts/peers/venv pyhealth") == 1
    assert printed.splitlines()[-1] == str(out)
    done = finished(out)
    assert kept in done.items()
    assert {folder.parent.name for folder in done} == {"logistic.static", "autogluon", "lora"}

    (run,) = (
        json.loads((folder / ABOUT).read_text())["run"] for folder in done if "lora" in folder.parts
    )
    assert (out / run / "provenance.json").is_file()
    assert not list((out / run).rglob("checkpoints"))
    page = (out / "index.html").read_text()
    assert run in page
    assert f"scikit-learn {version('scikit-learn')} ran in an environment of its own" in page
    table = pl.read_parquet(out / "results.parquet")
    assert set(table["method"]) == {"logistic/static", "autogluon", "lora"}
    assert (table["peak_mb"] > 50).all()
    assert (table["fit_seconds"] > 0).all()
