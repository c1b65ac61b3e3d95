"""What files tell of a config's cohorts: every problem, one line each, before torch."""

import shutil

import polars as pl
import pytest

from clintune.cohort.checks import folder_problems
from clintune.config.compose import compose_recipe
from clintune.config.schema import Cohort
from conftest import run_python

PROBLEMS = {
    "root": (
        ["cohorts.tiny.root=/nowhere"],
        "cohorts.tiny.root: /nowhere is not a folder; correct the path",
    ),
    "label": (
        ["tasks.outcome.label=deteriorations"],
        "tasks.outcome.label: no cohort has the label 'deteriorations'",
    ),
    "near": (["tasks.outcome.label=deteriorations"], "did you mean 'deterioration'?"),
    "places": (
        ["tasks.outcome.label=a/b"],
        "looked for labels/a/b.parquet, labels/a/b/*.parquet, task_labels/a/b.parq",
    ),
    "ending": (
        ["tasks.outcome.label=x.parquet"],
        "tasks.outcome.label: 'x.parquet' ends in .parquet; name it without",
    ),
    "leaves": (["tasks.outcome.label=../x"], "tasks.outcome.label: '../x' leaves its folder"),
    "groups": (["cohorts.tiny.groups=metadata/no.csv"], "metadata/no.csv: is missing; write it"),
    "folds": (["cohorts.tiny.folds=no.csv", "cv=5"], "cohorts.tiny.folds: "),
    "cv": (["cv=no.parquet"], "cv: "),
}


def problems_of(config):
    return list(map(str, folder_problems(config.cohorts, config.cv, config.tasks)))


@pytest.mark.parametrize("case", PROBLEMS)
def test_what_is_missing_is_named_with_the_remedy(recipe, case):
    overrides, words = PROBLEMS[case]
    (problem,) = problems_of(compose_recipe(recipe(), overrides))
    assert words in problem
    assert "\n" not in problem


def test_a_cohort_without_data_and_whole_ones_are_told_apart(recipe, cohort):
    assert list(problems_of(compose_recipe(recipe(cohort)))) == []
    for shard in (cohort / "data").glob("*.parquet"):
        shard.unlink()
    (problem,) = problems_of(compose_recipe(recipe(cohort)))
    assert "data: holds no Parquet file" in problem


def test_every_fault_of_a_cohort_is_named(recipe, cohort):
    (cohort / "data/more.csv").touch()
    (cohort / "labels/lost").symlink_to(cohort / "unmounted")
    overrides = ["cohorts.tiny.groups=no.csv", "tasks.outcome.label=../x", "cv=no.parquet"]
    found = problems_of(compose_recipe(recipe(cohort), overrides))
    assert [problem.partition(": ")[0] for problem in found] == [
        str(cohort / "data/more.csv"),
        "cohorts.tiny.groups",
        "cv",
        "tasks.outcome.label",
    ]


def test_labels_in_two_places_and_hidden_ones_are_named(recipe, cohort):
    shutil.copytree(cohort / "labels", cohort / "task_labels")
    (cohort / "labels/deterioration").mkdir()
    (cohort / "labels/deterioration/more.csv").touch()
    hidden, doubled = problems_of(compose_recipe(recipe(cohort)))
    assert hidden.startswith(f"{cohort}/labels/deterioration/more.csv: is not read")
    assert doubled.startswith(f"{cohort}: label deterioration stands in labels/")


def test_a_cohort_without_any_of_the_labels_is_named(recipe, cohort):
    (cohort / "labels/deterioration.parquet").unlink()
    config = compose_recipe(recipe())
    cohorts = {**config.cohorts, "other": Cohort(root=str(cohort))}
    problem, _ = folder_problems(cohorts, None, config.tasks)
    assert (
        str(problem)
        == f"cohorts.other: {cohort} has no labels of outcome; add labels or drop the cohort"
    )


def test_two_cohorts_of_the_same_people_are_refused(recipe, cohort):
    config = compose_recipe(recipe())
    cohorts = {**config.cohorts, "other": Cohort(root=str(cohort))}
    shards = sorted((cohort / "data").glob("*.parquet"))
    for number, shard in enumerate(shards):
        shard.rename(cohort / "data" / f"another{number}.parquet")
    (problem,) = folder_problems(cohorts, None, config.tasks)
    assert problem.where == "cohorts.tiny and cohorts.other"
    assert problem.what.startswith("have equal tables (")
    assert str(problem).endswith("the same people would train and test; drop one of them")

    table = pl.read_parquet(cohort / "data" / "another0.parquet")
    table[1:].write_parquet(cohort / "data" / "another0.parquet")
    assert list(folder_problems(cohorts, None, config.tasks)) == []


def test_what_a_source_will_write_is_not_missed(recipe):
    tasks = compose_recipe(recipe()).tasks
    cohort = Cohort(root="/nowhere", source={"_target_": "a.b"})
    assert list(folder_problems({"tiny": cohort}, None, tasks)) == []


def test_torch_is_not_needed():
    heavy = "torch", "transformers", "datasets"
    code = f"import sys, clintune.cohort.checks; sys.exit(bool({set(heavy)} & set(sys.modules)))"
    assert run_python("-c", code).returncode == 0
