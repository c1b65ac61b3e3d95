"""Linter, formatter and type checker are silent."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


# What ruff remembers of a file does not say which modules stood beside it.
# What is ours may have changed since.
CHECKS = [["ruff", "check", "--no-cache", "."], ["ruff", "format", "--check", "."], ["mypy"]]


@pytest.mark.parametrize("words", CHECKS, ids=" ".join)
def test_silent(words):
    done = subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
