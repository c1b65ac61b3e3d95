"""Suites: the shipped ones compose; what is wrong with a user's own is said in one line."""

import pytest

from clintune.benchmark.runner import check_is_benchmark
from clintune.benchmark.suite import find_suite, read_suite, shipped_suites
from clintune.benchmark.trials import plan
from clintune.cli import main
from clintune.core.errors import ConfigError


def written(tmp_path, text):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", shipped_suites())
def test_shipped_suites_compose_with_three_seeds(name):
    suite = read_suite(find_suite(name))
    trials = plan(suite, ["data.raw=/data"])
    assert {trial.seed for trial in trials} == {0, 1, 2}
    assert {trial.method for trial in trials} >= set(suite.clintune)
    assert all(trial.config.seed == trial.seed for trial in trials)
    assert {cohort.splits.seed for trial in trials for cohort in trial.config.cohorts.values()} == {
        0,
        1,
        2,
    }


def test_overrides_of_the_suite_and_of_its_recipes_reach_them(tmp_path):
    path = written(
        tmp_path,
        "experiments: {a: {recipe: quickstart, overrides: [ensemble=2]}}\nclintune: {lora: []}",
    )
    suite = read_suite(path, ["seeds=[5]"])
    (trial,) = plan(suite, ["trainer.max_steps=3"])
    assert (trial.seed, trial.config.ensemble, trial.config.trainer.max_steps) == (5, 2, 3)


def test_a_seed_that_would_be_overwritten_is_refused():
    with pytest.raises(ConfigError, match="write seeds="):
        plan(read_suite(find_suite("peft")), ["seed=5"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("experimants: {}", "key 'experimants' does not exist; did you mean 'experiments'"),
        (
            "experiments: {a: {recip: quickstart}}",
            "key 'experiments.a.recip' does not exist; did you mean 'recipe'",
        ),
        ("seeds: [0]", "give at least one"),
        (
            "experiments: {a: {recipe: quickstart, baselines: [logistics]}}",
            "did you mean 'logistic'",
        ),
        (
            "experiments: {a: {recipe: quickstart}}\nclintune: {boosting: []}",
            "is the name of a baseline",
        ),
        (
            "experiments: {a: {recipe: quickstart}}\nclintune: {lora: []}\nmethods: [lorra]",
            "did you mean 'lora'",
        ),
        ("experiments: {a: {recipe: quickstart}}\nmissing: [1.0]", "shares from 0 to below 1"),
        ("experiments: {a: {recipe: quickstart}}\nseeds: [x]", r"'seeds\[0\]' does not fit"),
        (
            "experiments: {a: {recipe: quickstart}}\nseeds: 0",
            r"'seeds' does not fit; give .*, as \[0,1\]",
        ),
        (
            "experiments: {a: {recipe: quickstart}}\nseeds: [1, 0, 1]",
            "'seeds' names 1 twice; give each once",
        ),
        (
            "experiments: {a: {recipe: quickstart}}\nmethods: []",
            "'methods' is empty; name one, or give null for all",
        ),
        (
            "experiments: {a: {recipe: quickstart}}\nmethods: lora",
            r"'methods' does not fit; give a list, as \[lora",
        ),
        (
            "experiments: {a: {recipe: quickstart}}\nclintune: {lora: adapter.r=4}",
            r"as \{lora: \[adapter.r=4\]\}",
        ),
        (
            "experiments: {a: {recipe: quickstart, baselines: lora}}",
            r"baselines' does not fit; give a list, as",
        ),
        (
            "experiments: {a: {recipe: quickstart, baselines: [tfidf/notes]}}",
            "not of one modality; write tfidf",
        ),
        (
            "experiments: {a: {recipe: quickstart, axis: subjects, levels: {few: []}}}",
            "levels that are no numbers",
        ),
    ],
)
def test_a_suite_that_cannot_be_used_is_refused_in_one_line(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message) as refused:
        read_suite(written(tmp_path, text))
    assert "\n" not in str(refused.value)


def test_a_baseline_of_a_modality_not_there_is_refused(tmp_path):
    suite = read_suite(
        written(tmp_path, "experiments: {a: {recipe: quickstart, baselines: [logistic/note]}}")
    )
    with pytest.raises(
        ConfigError, match="modality 'note', which the recipe lacks; did you mean 'notes'"
    ):
        plan(suite, [])


def test_a_folder_that_holds_other_things_takes_no_benchmark(tmp_path, monkeypatch, capsys):
    suite = written(tmp_path, "experiments: {a: {recipe: quickstart, baselines: [prevalence]}}")
    monkeypatch.setattr(
        "clintune.verbs.benchmark.run_trials", lambda *parts: pytest.fail("it began")
    )
    assert main(["benchmark", str(suite), f"out={tmp_path}"]) == 2
    assert f"out: {tmp_path} holds other files; name another folder" in capsys.readouterr().err
    for begun in ("trials", "trials.lock"):
        (tmp_path / begun).mkdir()
        check_is_benchmark(tmp_path)
        (tmp_path / begun).rmdir()


def test_a_suite_that_does_not_exist_gets_the_nearest_name():
    with pytest.raises(ConfigError, match="did you mean 'missing'"):
        find_suite("mising")
    with pytest.raises(ConfigError, match="no such file"):
        find_suite("nowhere/mine.yaml")


def test_a_cell_is_known_by_what_determines_its_result(tmp_path):
    path = written(
        tmp_path,
        "experiments: {a: {recipe: quickstart, baselines: [logistic]}}\n"
        "clintune: {lora: []}\nseeds: [0, 1]",
    )

    def keys(*overrides, data="data", suite=()):
        return [trial.key(data) for trial in plan(read_suite(path, suite), overrides)]

    plain = keys()
    assert len(set(plain)) == 4
    assert (
        keys("data.cache=/elsewhere", "runs=/elsewhere", "cohorts.quickstart.root=/elsewhere")
        == plain
    )
    for changed in (keys("trainer.lr=0.1"), keys(data="other"), keys(suite=["missing=[0.5]"])):
        assert not set(changed) & set(plain)
