"""A real SLURM (scripts/local_slurm): what its tests need, and waiting for its jobs."""

import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import run_python

NEEDS_SLURM = [
    pytest.mark.slow,
    pytest.mark.skipif(
        shutil.which("sbatch") is None, reason="sbatch is missing; as root: scripts/local_slurm"
    ),
]


def until(folder: Path, true: Callable[[Path], object], seconds: float = 240) -> None:
    """Wait until something about a run or job is true; fail with its logs if it never is."""
    end = time.monotonic() + seconds
    while not true(folder):
        if time.monotonic() > end:
            pytest.fail(run_python("-m", "clintune.cli", "logs", str(folder)).stdout[-5000:])
        time.sleep(0.1)


def state_of(job: str) -> str:
    """Return what SLURM calls the state of a job; empty when it is gone."""
    return subprocess.run(
        ["squeue", "-h", "-j", job, "-o", "%T"], capture_output=True, text=True
    ).stdout.strip()
