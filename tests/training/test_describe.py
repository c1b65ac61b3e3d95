"""The dry run adds up, counts what training will see, and refuses what training would refuse."""

import re

import polars as pl
import pytest

from clintune.cli import main
from spoiling import LABELS, SPLITS, spoil

BINARY = "clintune.tasks.binary.Binary"


@pytest.fixture
def dry(recipe, capsys):
    """Return a function that runs a recipe dry and returns exit code and what was said on one line each."""

    def run(root=None, *words):
        code = main(["train", str(recipe() if root is None else recipe(root)), "--dry-run", *words])
        return code, capsys.readouterr().err

    return run


def table_rows(said, first, last):
    """Return the cells of the lines of a table by the name that begins them."""
    lines = [re.split(r"\s{2,}", line.strip()) for line in said.splitlines()]
    names = [cells[0] for cells in lines]
    return {cells[0]: cells[1:] for cells in lines[names.index(first) : names.index(last) + 1]}


def test_parameters_of_the_parts_add_up_and_no_name_is_cut(dry):
    code, said = dry(
        None,
        "name=" + "long_" * 30,
        "model.skip=null",
        f"+tasks.{'tall_' * 20}={{_target_: {BINARY}, label: deterioration}}",
    )
    assert code == 0
    assert "long_" * 30 in said
    assert f"tasks.{'tall_' * 20} " in said
    rows = table_rows(said, "notes", "all")
    for column in (-1, -2):
        numbers = {name: int(cells[column].replace(",", "")) for name, cells in rows.items()}
        assert numbers.pop("all") == sum(numbers.values())
    assert {"projectors.notes", "backbone", "tasks.outcome"} <= rows.keys()


def test_folds_members_steps_and_labels_are_counted(dry, quickstart):
    code, said = dry(None, "cv=4", "cv_repeats=2", "ensemble=3", "trainer.max_steps=null", "trainer.epochs=2.5")
    assert code == 0
    assert "trainings: 4 folds x 2 repeats x 3 members = 24, each of 8 steps of 8 samples" in said
    rows = table_rows(said, "samples", "with static")
    assert rows["subjects"][2] == "10"
    labels = pl.read_parquet(quickstart / LABELS)["boolean_value"]
    low, high = (int(part) for part in re.findall(r"\d+", rows["tasks.outcome: yes"][2])[:2])
    assert low <= labels.sum() / 4 <= high


def test_what_is_lacking_or_suspect_is_said(dry, cohort):
    (cohort / SPLITS).unlink(missing_ok=True)
    truth = pl.read_parquet(cohort / LABELS)
    answers = pl.col("boolean_value").cast(pl.Float32).alias("numeric_value")
    for shard in (cohort / "data").iterdir():
        table = pl.read_parquet(shard)
        told = truth.join(table, on="subject_id", how="semi").select("subject_id", answers, code=pl.lit("DISCHARGED"))
        pl.concat([table, told.cast({"code": table.schema["code"]})], how="diagonal").write_parquet(shard)
    words = ["cohorts.tiny.splits.held_out=0", "cohorts.tiny.splits.tuning=0", "modalities.notes.max_pieces=1"]
    code, said = dry(cohort, *words)
    assert code == 0, said
    assert "no sample is in the tuning split" in said
    assert "no sample is in the held_out split: the run cannot be evaluated" in said
    assert "modality static, code DISCHARGED, its value: tells the label of outcome almost alone" in said
    assert re.search(r"notes: (\d+ %|nearly all) of the samples lose their oldest pieces \(max_pieces 1\)", said)


@pytest.mark.parametrize("kind", ["image_path", "waveform_path"])
def test_a_file_that_cannot_be_read_is_refused_as_training_does(dry, cohort, kind):
    spoil(kind)(cohort)
    code, said = dry(cohort)
    assert code == 2
    assert "are unreadable, more than data.max_bad_fraction=0.0 allows; the first is data/" in said
    listed = said.strip().rpartition("; all of them are listed in ")[2]
    assert len(pl.read_csv(listed)) == 1
    assert dry(cohort, "data.max_bad_fraction=0.5")[0] == 0


def test_missing_files_are_all_listed_before_anything_is_built(dry, cohort):
    gone = sorted((cohort / "images").iterdir())[:5]
    for path in gone:
        path.unlink()
    code, said = dry(cohort)
    assert code == 2
    listed = pl.read_csv(said.strip().rpartition("; all of them are listed in ")[2])
    assert listed["reason"].unique().to_list() == ["the media file is missing; restore it or drop the row"]
    assert f"modalities.imaging: {len(listed)} of " in said
    assert "backbone" not in said


def test_one_answer_in_the_training_split_is_refused(dry, cohort):
    path = cohort / LABELS
    pl.read_parquet(path).with_columns(boolean_value=pl.lit(True)).write_parquet(path)
    code, said = dry(cohort)
    assert code == 2
    assert "tasks.outcome: the train split has one answer only; nothing can be learnt from it" in said
