"""What stands twice where it should stand once is told, in the dry run and in training."""

import re
import shutil

import polars as pl
import pytest

from clintune.cli import main
from spoiling import LABELS


def said(capsys, *words):
    code = main(["train", *map(str, words)])
    err = " ".join(capsys.readouterr().err.split())
    assert code == 0, err
    return err


def notes_of_one_text(cohort, num):
    """Give all notes of the first `num` subjects one text."""
    for shard in (cohort / "data").iterdir():
        table = pl.read_parquet(shard)
        mine = pl.col("subject_id").is_in(table["subject_id"].unique().sort().head(num).implode())
        is_note = pl.col("text_value").is_not_null() & mine
        text = pl.when(is_note).then(pl.lit("No acute finding.")).otherwise("text_value")
        table.with_columns(text.alias("text_value").cast(table.schema["text_value"])).write_parquet(shard)


@pytest.mark.parametrize("words", [["--dry-run"], []])
def test_one_text_for_everybody_is_told(cohort, recipe, capsys, words):
    notes_of_one_text(cohort, 10**6)
    assert "notes: one and the same item, but for its time, stands for 100 % of the subjects" in said(
        capsys, recipe(cohort), *words
    )


def test_texts_of_their_own_are_not_told(recipe, capsys):
    assert "one and the same" not in said(capsys, recipe(), "--dry-run")


def test_people_who_stand_in_two_cohorts_but_for_a_row_are_told(cohort, recipe, capsys, tmp_path):
    twin = shutil.copytree(cohort, tmp_path / "twin")
    shard = next((twin / "data").iterdir())
    pl.read_parquet(shard).head(-1).write_parquet(shard)
    both = recipe(cohort)
    both.write_text(both.read_text().replace("cohorts: {tiny", f"cohorts: {{twin: {{root: {twin}}}, tiny"))
    found = said(capsys, both, "--dry-run")
    num = int(re.search(r"(\d+) samples stand in two cohorts alike", found)[1])
    assert num in (len(pl.read_parquet(cohort / LABELS)) - 1, len(pl.read_parquet(cohort / LABELS)))


def test_classes_that_differ_by_case_or_spaces_are_told(cohort, recipe, capsys):
    table = pl.read_parquet(cohort / LABELS)
    name = pl.when("boolean_value").then(pl.lit("Home")).when(pl.col("subject_id") % 2 == 0).then(pl.lit("home "))
    table.select("subject_id", "prediction_time", categorical_value=name.otherwise(pl.lit("Ward"))).write_parquet(
        cohort / "labels/went.parquet"
    )
    words = ["+tasks.went={_target_: clintune.tasks.multiclass.Multiclass, label: went}", "--dry-run"]
    told = "tasks.went: 'Home' and 'home ' differ in case or spaces alone; write one name where one class is meant"
    assert told in said(capsys, recipe(cohort), *words)
