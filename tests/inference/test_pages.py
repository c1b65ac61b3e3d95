"""What the pages show of a loaded model works, as it stands there."""

import re
from pathlib import Path

import polars as pl
import pytest

import clintune

ROOT = Path(__file__).parents[2]
RISK = "outcome/predicted_boolean_probability"


def block(page, word):
    """Return the only block of Python of a page that has a word in it."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.S)
    (code,) = [code for code in blocks if word in code]
    return code


@pytest.fixture
def run_block(shared_run, quickstart, monkeypatch):
    """Return a function that runs a block on the tests' cohort and run; it returns the names."""
    monkeypatch.chdir(quickstart)

    def run(page, word, **places):
        code = block(page, word)
        for name, here in {**places, "org/name": shared_run(), "/data/cohort": quickstart}.items():
            code = code.replace(name, str(here))
        names = {}
        exec(compile(code, page, "exec"), names)
        return names

    return run


@pytest.fixture
def shards(quickstart):
    return sorted((quickstart / "data").glob("*.parquet"))


def test_the_readme_answers_for_one_patient(run_block, shards, tmp_path):
    events = pl.read_parquet(shards[0])
    patient = events.filter(pl.col("subject_id") == events["subject_id"][0])
    patient.write_parquet(tmp_path / "patient.parquet")
    names = run_block(
        "README.md", "patient.parquet", **{"patient.parquet": tmp_path / "patient.parquet"}
    )
    assert names["answers"].select("subject_id", RISK).null_count().row(0) == (0, 0)
    assert len(names["answers"]) == 1


def test_the_readme_shows_the_first_answer_in_three_lines():
    lines = block("README.md", "patient.parquet").partition("clintune.load")[2].strip().splitlines()
    assert len(lines) == 3


def test_the_page_on_scoring_answers_rows_and_a_folder(run_block, shards):
    names = run_block("docs/predict.md", "root=", **{"/data/cohort/data/0.parquet": shards[0]})
    assert names["answers"]["subject_id"].to_list() == sorted(
        set(pl.read_parquet(shards[0])["subject_id"])
    )
    assert len(names["ward"]) == 40


def test_the_page_on_adapters_answers_with_each(run_block, shared_run, quickstart):
    ward, icu = (
        shared_run("backbone=minilm", "trainer.max_steps=2", f"seed={seed}") for seed in (0, 1)
    )
    code = block("docs/publish.md", "load_several")
    assert len(code.partition("import clintune")[2].strip().splitlines()) == 2
    places = {"org/deterioration": ward, "org/icu_admission": icu}
    answers = run_block("docs/publish.md", "load_several", **places)["answers"]
    alone = clintune.load(icu).predict(cohort=quickstart, times="last")
    assert (answers[RISK] - alone[RISK]).abs().max() < 1e-6


def test_the_page_on_publishing_answers(run_block, shared_run):
    assert (
        len(run_block("docs/publish.md", "hf://", **{"hf://org/name@v1": shared_run()})["answers"])
        == 40
    )


def test_the_readme_trains_from_python(recipe, monkeypatch):
    code = block("README.md", "clintune.train").replace('"quickstart"', repr(str(recipe())))
    names = {"clintune": clintune}
    exec(
        compile(
            code.replace("run.evaluate()", "run.evaluate(bootstrap=10, ablations=False)"),
            "page",
            "exec",
        ),
        names,
    )
    assert set(names["metrics"]) >= {"held_out", "packages"}
    assert repr(names["model"]).startswith("Predictor(recipe: outcome")
