"""Training and evaluation from Python; what is exported is imported when it is asked for."""

import json
import os
import signal

import pytest

import clintune
from clintune.api import override_words
from clintune.core.errors import ConfigError
from conftest import run_python


def test_nothing_heavy_is_imported_before_it_is_needed():
    code = (
        "import sys, clintune; clintune.train; clintune.Run\n"
        "try:\n    clintune.train('quickstart', trainer={'max_stepz': 1})\n"
        "except Exception as error:\n    print(error)\n"
        "print(sorted({'torch', 'transformers'} & sys.modules.keys()))"
    )
    done = run_python("-c", code)
    assert done.returncode == 0, done.stderr
    said, heavy = done.stdout.splitlines()
    assert "did you mean 'max_steps'" in said or "trainer.max_stepz" in said
    assert heavy == "[]"


def test_every_export_is_there_and_listed():
    assert sorted(clintune.__all__) == clintune.__all__
    assert all(callable(getattr(clintune, name)) for name in clintune.__all__)
    assert set(clintune.__all__) <= set(dir(clintune))
    with pytest.raises(AttributeError, match="has no attribute 'trian'"):
        _ = clintune.trian


def test_a_run_is_trained_evaluated_and_loaded(recipe, quickstart):
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    run = clintune.train(recipe(), trainer={"max_steps": 2}, **{"trainer.batch_size": 4})
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    assert repr(run) == f"Run({run.folder}: done)"
    with pytest.raises(ConfigError, match="not evaluated; call evaluate"):
        _ = run.metrics

    metrics = run.evaluate(bootstrap=10, ablations=False)
    assert metrics == run.metrics == json.loads((run.folder / "metrics.json").read_text())
    assert repr(run) == f"Run({run.folder}: done, evaluated)"
    assert repr(clintune.Run(os.fspath(run))) == repr(run)
    assert len(clintune.load(run).predict(cohort=quickstart)) == 40


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"no recipe\.yaml there"):
        clintune.Run(tmp_path)


def test_overrides_are_those_of_the_command_line(recipe, tmp_path):
    given = {
        "trainer": {"max_steps": 2, "lr": 1e-3},
        "cv": None,
        "runs": tmp_path / "a b",
        "model.average_views": True,
    }

    assert list(override_words({**given, "modality": ["notes", "static"]})) == [
        "trainer.max_steps=2",
        "trainer.lr=0.001",
        "cv=null",
        f"runs='{tmp_path / 'a b'}'",
        "model.average_views=true",
        "modality=['notes','static']",
    ]
    with pytest.raises(ConfigError, match="a object is no value of a recipe"):
        list(override_words({"seed": object()}))
