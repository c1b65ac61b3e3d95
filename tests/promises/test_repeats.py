"""Promises 2 and 5: the same numbers again, also after a kill; files appear whole or not at all."""

import random
from pathlib import Path

import pytest

from clintune.cli import main
from clintune.experiment.resume import trained_steps
from conftest import evaluate, run_python, train, weights, write_recipe

MORTAL = """
import os, signal, sys
limit, log = sys.argv[1], []
def mortal(name, function):
    def call(*args, **kwargs):
        log.append(f"{name} {os.path.basename(str(args[-1]))}" if name == "replace" else name)
        if limit in (str(len(log)), log[-1]):
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)
    return call
import torch
torch.optim.AdamW.step = mortal("step", torch.optim.AdamW.step)
os.fsync, os.replace = mortal("fsync", os.fsync), mortal("replace", os.replace)
from clintune.cli import main
code = main(sys.argv[2:])
print(*log, sep=",", file=sys.stderr)
sys.exit(code)
"""


def test_the_seed_determines_the_numbers(recipe):
    first, second, other = (train(recipe(), f"seed={seed}") for seed in (0, 0, 1))
    assert weights(first) == weights(second)
    assert (first / "history.jsonl").read_text() == (second / "history.jsonl").read_text()
    assert weights(first)[0] != weights(other)[0]


@pytest.fixture(scope="module")
def never_killed(quickstart, tmp_path_factory):
    """Return a function, the folder of a run never killed, and the moments of a kill.

    The function (limit, folder) returns the recipe's path and the process, killed at the limit.
    """

    def start(limit, folder):
        path = write_recipe(folder, quickstart, folder / "cache")
        return path, run_python("-c", MORTAL, str(limit), "train", str(path))

    _, done = start(0, tmp_path_factory.mktemp("whole"))
    assert done.returncode == 0, done.stderr
    moments = done.stderr.splitlines()[-1].split(",")
    return start, Path(done.stdout.splitlines()[-1]), moments


def kill_points():
    """Yield places in the list of moments, as fractions drawn once for all."""
    draw = random.Random(20)
    for number in range(10):
        yield pytest.param(
            draw.random(), id=f"kill{number}", marks=[pytest.mark.slow] if number >= 1 else []
        )


@pytest.mark.parametrize("place", list(kill_points()))
def test_a_run_killed_and_resumed_gives_the_same_numbers(never_killed, tmp_path, place):
    start, whole, moments = never_killed
    recipe, done = start(1 + int(place * len(moments)), tmp_path)
    assert done.returncode == -9, done.stderr
    started = sorted((tmp_path / "runs").glob("*/*/recipe.yaml"))
    words = ["--resume", str(started[0].parent)] if started else [str(recipe)]
    assert main(["train", *words]) == 0
    run = next(iter((tmp_path / "runs").glob("*/*/history.jsonl"))).parent
    assert weights(run) == weights(whole)
    assert (run / "history.jsonl").read_text() == (whole / "history.jsonl").read_text()
    evaluate(run)


def test_a_kill_while_a_checkpoint_is_replaced_leaves_one(never_killed, tmp_path):
    start, whole, _ = never_killed
    _, done = start("replace step-00000006", tmp_path)
    assert done.returncode == -9, done.stderr
    (run,) = (tmp_path / "runs" / "recipe").iterdir()
    assert trained_steps(run) == 4
    assert main(["train", "--resume", str(run)]) == 0
    assert weights(run) == weights(whole)
    assert (run / "history.jsonl").read_text() == (whole / "history.jsonl").read_text()
