"""A real SLURM (scripts/local_slurm): a job's processes share its shards; requeued, it goes on."""

import subprocess

import pytest

from conftest import run_python
from helpers.scored_cohorts import read, score
from helpers.slurm_jobs import NEEDS_SLURM, state_of, until

pytestmark = NEEDS_SLURM
CLUSTER = [
    "cluster=slurm",
    "cluster.nodes=2",
    "cluster.partition=main",
    "cluster.cpus_per_process=1",
    "shard_size=1",
]


def submit(run, root, out, *words):
    places = [f"cohort={root}", f"out={out}", f"data.cache={out.parent / 'cache'}"]
    return run_python("-m", "clintune.cli", "predict", str(run), *places, *CLUSTER, *words)


@pytest.fixture(scope="module")
def alone(run, quickstart, tmp_path_factory):
    out = tmp_path_factory.mktemp("alone") / "out"
    assert score(run, quickstart, out, "shard_size=1") == 0
    return out


def test_a_job_scores_as_one_process_does(alone, run, quickstart, tmp_path):
    out = tmp_path / "out"
    done = submit(run, quickstart, out, "--wait")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == str(out)
    assert read(out).equals(read(alone))
    logs = run_python("-m", "clintune.cli", "logs", str(out))
    assert logs.returncode == 0
    assert logs.stdout.count("==> ") > 1


def test_a_requeued_job_goes_on(alone, run, quickstart, tmp_path):
    out = tmp_path / "out"
    done = submit(run, quickstart, out)
    assert done.returncode == 0, done.stderr
    job = done.stdout.split()[1].rstrip(",")
    until(out, lambda out: list(out.glob("shards/[0-9]*.json")))
    subprocess.run(["scontrol", "requeue", job], check=True)
    until(out, lambda out: state_of(job) == "PENDING")
    assert not (out / "summary.json").exists()
    subprocess.run(
        ["scontrol", "update", f"jobid={job}", "starttime=now"], check=True
    )  # not in two minutes
    until(out, lambda out: (out / "summary.json").exists())
    assert read(out).equals(read(alone))
