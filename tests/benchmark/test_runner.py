"""A whole benchmark with real processes: killed, resumed, and a method that cannot work."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from clintune.benchmark.cells import ABOUT

SUITE = """# A tiny suite.
experiments:
  tiny:
    recipe: RECIPE
    baselines: [logistic/static, logistic/imaging]
clintune: {lora: [trainer.max_steps=20]}
seeds: [0]
"""


def command(suite, out):
    return [sys.executable, "-m", "clintune.cli", "benchmark", str(suite), f"out={out}", "trainer.metric=loss"]


def finished(out):
    return {path.parent: path.stat().st_mtime_ns for path in (out / "cells").glob(f"tiny/*/*/*/{ABOUT}")}


@pytest.fixture
def suite(recipe, tmp_path):
    path = tmp_path / "tiny_suite.yaml"
    path.write_text(SUITE.replace("RECIPE", str(recipe(extra="cv: 2\n"))))
    return path


def test_a_benchmark_that_is_killed_goes_on_where_it_was_and_says_what_failed(suite, tmp_path):
    out = tmp_path / "out"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    first = subprocess.Popen(command(suite, out), env=environment, stderr=subprocess.PIPE, text=True)
    for line in first.stderr:  # until the first cell is done and the third has begun
        if "logistic/imaging" in line:
            break
    while not list((out / "runs").glob("tiny/all/lora/*/folds/0-0/checkpoints/step-*")):
        with contextlib.suppress(subprocess.TimeoutExpired):
            assert first.wait(0.05) is None
    first.send_signal(signal.SIGKILL)
    first.wait()
    first.stderr.close()
    (kept,) = finished(out).items()

    second = subprocess.run(command(suite, out), env=environment, capture_output=True, text=True)
    assert second.returncode == 1
    assert second.stderr.splitlines()[-1] == "clintune: 1 of 3 cells failed; the same command tries them again"
    assert "tiny logistic/imaging seed 0: this baseline reads a frozen encoder" in second.stderr
    assert second.stdout.splitlines()[-1] == str(out)
    done = finished(out)
    assert kept in done.items()
    assert {folder.parent.name for folder in done} == {"logistic.static", "lora"}

    (run,) = (json.loads((folder / ABOUT).read_text())["run"] for folder in done if "lora" in folder.parts)
    assert (out / run / "provenance.json").is_file()
    assert not list((out / run).rglob("checkpoints"))
    assert run in (out / "index.html").read_text()
    table = pl.read_parquet(out / "results.parquet")
    assert set(table["method"]) == {"logistic/static", "lora"}
    assert (table["peak_mb"] > 50).all()
    assert (table["fit_seconds"] > 0).all()
