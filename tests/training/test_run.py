"""A run of several members: none may be missing, and a resume says what it was asked."""

import shutil

import pytest

from clintune.cli import main
from clintune.core.errors import ConfigError
from clintune.verbs.train import train as train_verb


def test_a_resume_completes_an_ensemble_that_lacks_a_member(run_copy, capsys):
    run = run_copy("ensemble=2", "trainer.max_steps=2")
    whole = (run / "package" / "member-1" / "parts.safetensors").read_bytes()
    shutil.rmtree(run / "package" / "member-1")
    assert main(["evaluate", str(run), "--bootstrap", "10"]) == 2
    assert "member-1: no package there" in capsys.readouterr().err
    assert main(["train", "--resume", str(run)]) == 0
    assert (run / "package" / "member-1" / "parts.safetensors").read_bytes() == whole
    assert main(["evaluate", str(run), "--bootstrap", "10"]) == 0


def test_a_cluster_that_does_not_exist_is_refused(recipe):
    with pytest.raises(ConfigError, match=r"'cluster\.kind' moon does not exist"):
        train_verb([str(recipe()), "cluster.kind=moon"])
