"""A real SLURM (scripts/local_slurm): requeued, signalled and killed jobs end as one left alone."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from conftest import run_python, weights
from helpers.slurm_jobs import NEEDS_SLURM, state_of, until
from helpers.troubled import ODD, TROUBLE, apart

pytestmark = NEEDS_SLURM
JOB = [
    "cluster=slurm", "cluster.nodes=2", "cluster.partition=main", "cluster.cpus_per_process=1",
    "trainer.max_steps=40", "trainer.tune_every=20", "trainer.checkpoint_every=5",
    "trainer.micro_batch_size=16",
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("slurm")


@pytest.fixture(scope="module")
def left_alone(folder):
    """Return the run of a job that nobody disturbs, followed to its end."""
    done = run_python(
        "-m", "clintune.cli", "train", "quickstart", *JOB, *places(folder, "alone"), "--wait"
    )
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.splitlines()[-1])


def places(folder, name):
    return [f"runs={folder / name}", f"data.cache={folder / 'cache'}"]


def submit(folder, name, *words, first=None):
    """Submit a job that imports first what is in `first`; return its id and run folder."""
    done = run_python(
        "-m",
        "clintune.cli",
        "train",
        "quickstart",
        *JOB,
        *places(folder, name),
        *words,
        first=first,
    )
    assert done.returncode == 0, done.stderr
    said, run = done.stdout.splitlines()[-2:]
    return said.split()[1].rstrip(","), Path(run)


def has_steps(number):
    return lambda run: (
        (run / "history.jsonl").exists()
        and len((run / "history.jsonl").read_text().split("\n")) > number
    )


def is_in(state):
    return lambda run: json.loads((run / "status.json").read_text())["state"] == state


def assert_failed(job, run, says):
    """Wait for a job's final end by a user's error, with the line of the process that met it."""
    until(run, lambda run: state_of(job) in {"", "PENDING"} and not is_in("queued")(run))
    told = subprocess.run(["scontrol", "show", "job", job], capture_output=True, text=True).stdout
    assert "JobState=FAILED" in told
    assert "Restarts=0" in told
    assert "ExitCode=2:0" in told
    assert is_in("failed")(run)
    logs = run_python("-m", "clintune.cli", "logs", str(run)).stdout
    assert logs.startswith(f"failed: {says}")
    assert "Traceback" not in logs


def kill_one(run, job):
    """Kill the second process of a job, as a broken node or the system's memory killer would."""
    for process in psutil.process_iter(["cmdline", "environ"]):
        command, environment = process.info["cmdline"] or [], process.info["environ"] or {}
        if "submitit.core._submit" in command and environment.get("SLURM_PROCID") == "1":
            os.kill(process.pid, signal.SIGKILL)


DISTURBANCES = {
    "requeued": lambda run, job: subprocess.run(["scontrol", "requeue", job], check=True),
    "signalled": lambda run, job: subprocess.run(["scancel", "--signal=USR1", job], check=True),
    "killed": kill_one,
}


@pytest.mark.parametrize("name", DISTURBANCES)
def test_a_disturbed_job_goes_on_by_itself_to_the_same_bits(folder, left_alone, name):
    job, run = submit(folder, name)
    until(run, has_steps(12))
    DISTURBANCES[name](run, job)
    until(run, lambda run: state_of(job) == "PENDING")
    subprocess.run(
        ["scontrol", "update", f"jobid={job}", "starttime=now"], check=True
    )  # not in two minutes
    until(run, is_in("done"))
    assert weights(run) == weights(left_alone)
    assert (run / "history.jsonl").read_text() == (left_alone / "history.jsonl").read_text()


def test_an_error_of_the_second_process_ends_the_job(folder, tmp_path):
    trouble = TROUBLE.format(what=ODD, when='os.environ.get("SLURM_PROCID") == "1"')
    (tmp_path / "sitecustomize.py").write_text(trouble)
    job, run = submit(folder, "failing", first=tmp_path)
    assert_failed(job, run, "notes: row 7 is odd; mend it")


def test_a_cancelled_job_stays_cancelled_and_can_go_on(folder, left_alone):
    job, run = submit(folder, "cancelled")
    until(run, has_steps(12))
    subprocess.run(["scancel", job], check=True)
    until(run, lambda run: state_of(job) == "")
    assert not is_in("done")(run)
    words = ["train", "--resume", str(run), "cluster.kind=local", "cluster.nodes=1"]
    done = run_python("-m", "clintune.cli", *words)
    assert done.returncode == 0, done.stderr
    assert apart(run, left_alone) < 1e-4


def test_srun_by_hand_finds_its_ranks(folder, left_alone):
    words = [word for word in JOB if not word.startswith("cluster")]
    command = [
        "srun",
        "-N",
        "2",
        "-n",
        "2",
        sys.executable,
        "-m",
        "clintune.cli",
        "train",
        "quickstart",
    ]
    done = subprocess.run(
        [*command, *words, *places(folder, "srun")], capture_output=True, text=True
    )

    assert done.returncode == 0, done.stderr[-3000:]
    assert weights(Path(done.stdout.splitlines()[-1])) == weights(left_alone)


def test_a_sweep_is_one_array_and_says_an_error_once(folder):
    job, _ = submit(folder, "sweep", "-m", "trainer.max_steps=2,3", "cluster.nodes=1")
    assert "_" in job
    runs = sorted(path.parent for path in (folder / "sweep").rglob("recipe.yaml"))
    assert len(runs) == 2
    for run in runs:
        until(run, is_in("done"))
    listed = run_python("-m", "clintune.cli", "runs", str(folder / "sweep")).stdout
    assert [f"{steps}/{steps}" in listed for steps in (2, 3)] == [True, True]

    job, run = submit(folder, "wrong", "modalities.notes.codes=[NO_SUCH_CODE]")
    assert_failed(job, run, "modalities.notes.codes: no row has 'NO_SUCH_CODE'")
