"""What stands twice, or differs in two, is told in the dry run and in training."""

import re
import shutil
from datetime import datetime

import polars as pl
import pytest

from clintune.cli import main
from clintune.cohort.index import SampleIndex
from clintune.cohort.samples import Samples
from clintune.config.schema import Cohort
from clintune.experiment.cohorts_apart import between_cohorts
from clintune.experiment.twins import alike_classes
from clintune.modalities.static import Static
from clintune.tasks.binary import Binary
from clintune.tasks.multiclass import Multiclass
from helpers.spoiling import LABELS


def said(capsys, *words):
    code = main(["train", *map(str, words)])
    err = " ".join(capsys.readouterr().err.split())
    assert code == 0, err
    return err


def notes_of_one_text(cohort, tenths):
    """Give all notes of so many tenths of the subjects one text."""
    for shard in (cohort / "data").iterdir():
        table = pl.read_parquet(shard)
        mine = pl.col("subject_id") % 10 < tenths
        is_note = pl.col("text_value").is_not_null() & mine
        text = pl.when(is_note).then(pl.lit("No acute finding.")).otherwise("text_value")
        table.with_columns(text.alias("text_value").cast(table.schema["text_value"])).write_parquet(
            shard
        )


@pytest.mark.parametrize("words", [["--dry-run"], []])
def test_one_text_for_everybody_is_told(cohort, recipe, capsys, words):
    notes_of_one_text(cohort, 10)
    assert (
        "notes: one and the same item, but for its time, stands for 100 % of the subjects"
        in said(capsys, recipe(cohort), *words)
    )


@pytest.mark.parametrize("tenths", [0, 4])
def test_texts_of_their_own_and_set_phrases_are_not_told(cohort, recipe, capsys, tenths):
    notes_of_one_text(cohort, tenths)
    assert "one and the same" not in said(capsys, recipe(cohort), "--dry-run")


def test_people_who_stand_in_two_cohorts_but_for_a_row_are_told(cohort, recipe, capsys, tmp_path):
    twin = shutil.copytree(cohort, tmp_path / "twin")
    shard = next((twin / "data").iterdir())
    pl.read_parquet(shard).head(-1).write_parquet(shard)
    both = recipe(cohort)
    both.write_text(
        both.read_text().replace("cohorts: {tiny", f"cohorts: {{twin: {{root: {twin}}}, tiny")
    )
    found = said(capsys, both, "--dry-run")
    num = int(re.search(r"(\d+) samples stand in two cohorts alike", found)[1])
    assert num in (len(pl.read_parquet(cohort / LABELS)) - 1, len(pl.read_parquet(cohort / LABELS)))


def test_units_of_two_cohorts_are_compared_in_the_dry_run(cohort, recipe, capsys, tmp_path):
    twin = shutil.copytree(cohort, tmp_path / "twin")
    for shard in (twin / "data").iterdir():
        value = pl.col("numeric_value") * 100
        pl.read_parquet(shard).with_columns(value.cast(pl.Float32)).write_parquet(shard)
    both = recipe(cohort)
    both.write_text(
        both.read_text().replace("cohorts: {tiny", f"cohorts: {{twin: {{root: {twin}}}, tiny")
    )
    assert "values in cohorts twin and tiny that are" in said(capsys, both, "--dry-run")


def test_classes_that_differ_by_case_or_spaces_are_told(cohort, recipe, capsys):
    table = pl.read_parquet(cohort / LABELS)
    name = (
        pl.when("boolean_value")
        .then(pl.lit("Home"))
        .when(pl.col("subject_id") % 2 == 0)
        .then(pl.lit("home "))
    )
    table.select(
        "subject_id", "prediction_time", categorical_value=name.otherwise(pl.lit("Ward"))
    ).write_parquet(cohort / "labels/went.parquet")
    words = [
        "+tasks.went={_target_: clintune.tasks.multiclass.Multiclass, label: went}",
        "--dry-run",
    ]
    told = (
        "tasks.went: 'Home' and 'home ' differ in case or spaces alone; "
        "write one name where one class is meant"
    )

    assert told in said(capsys, recipe(cohort), *words)


def test_classes_that_stand_for_an_unknown_label_are_told():
    tasks = {
        "went": Multiclass(label="went", classes=["Home", " NaN", "-9", "19"]),
        "died": Binary(label="died"),
    }
    assert list(alike_classes(tasks)) == [
        "tasks.went: the class ' NaN' looks like an unknown label; write null for it",
        "tasks.went: the class '-9' looks like an unknown label; write null for it",
    ]


def facts(rows):
    """Return 12 subjects' facts from (code, value) pairs; each subject's value is a bit greater."""
    table = []
    for subject in range(12):
        for code, value in rows:
            more = 0 if value is None else subject * (1 if value > 0 else -1) / 100
            table.append((subject, None, code, None if value is None else value + more))

    schema = {
        "subject_id": pl.Int64,
        "time": pl.Datetime("us"),
        "code": pl.String,
        "numeric_value": pl.Float32,
    }
    return pl.DataFrame(table, schema, orient="row")


@pytest.fixture
def compared(tmp_path):
    """Return a function that tells what differs between cohorts of the given facts."""

    def compared(**cohorts):
        indexes = []
        for name, table in cohorts.items():
            for folder in ("data", "labels"):
                (tmp_path / name / folder).mkdir(parents=True)
            table.write_parquet(tmp_path / name / "data/0.parquet")
            labels = table.select("subject_id").unique().sort("subject_id")
            labels = labels.with_columns(
                prediction_time=datetime(2020, 1, 1), boolean_value=pl.lit(True)
            )
            labels.write_parquet(tmp_path / name / "labels/died.parquet")

            cohort, tasks = Cohort(root=str(tmp_path / name)), {"died": Binary(label="died")}
            indexes.append(
                SampleIndex.open(
                    name, cohort, {"static": Static().reader}, tasks, tmp_path / "cache"
                )
            )
        return list(between_cohorts(Samples(indexes), ["static"]))

    return compared


def test_values_that_are_far_apart_in_two_cohorts_are_told(compared):
    north = facts(
        [("LAB//GLUCOSE", 5.0), ("LAB//CREATININE", 80.0), ("LAB//BASE", -3.0), ("SEX//F", None)]
    )
    south = facts(
        [("LAB//GLUCOSE", 90.0), ("LAB//CREATININE", 0.9), ("LAB//BASE", 30.0), ("SEX//F", None)]
    )
    assert compared(north=north, south=south) == [
        "static: 2 codes have values in cohorts north and south that are up to 84 times apart in "
        "the middle (LAB//CREATININE, LAB//GLUCOSE); look whether units are the same"
    ]


def test_values_that_are_near_or_of_few_subjects_are_not_told(compared):
    north = facts([("A", 5.0), ("B", 5.0)])
    few = facts([("A", 20.0), ("B", 500.0)]).filter(
        (pl.col("code") == "A") | (pl.col("subject_id") < 10)
    )
    assert compared(north=north, south=few) == []
    assert compared(alone=north) == []


def test_cohorts_that_share_hardly_a_code_are_told(compared):
    north, south = (
        [(f"{name}//{number}", None) for number in range(12)] for name in ("ICD9", "ICD10")
    )
    told = compared(
        north=facts([*north, ("SEX//F", None)]),
        south=facts([*south, ("SEX//F", None), ("MORE", None)]),
    )
    assert told == [
        "static: cohorts north and south share 1 of the 13 codes of the smaller one; look "
        "whether both are coded alike, or map one to the other"
    ]
    shared = [("SEX//F", None), ("SEX//M", None)]
    assert compared(east=facts([*north, *shared]), west=facts([*south, *shared])) == []
