"""The dry run adds up, counts what training will see, and refuses what training would refuse."""

import re

import polars as pl
import pytest

from clintune.cli import main
from helpers.spoiling import LABELS, SPLITS, media, spoil

BINARY = "clintune.tasks.binary.Binary"


@pytest.fixture
def dry(recipe, capsys):
    """Return a function that runs a recipe dry: exit code, and what was said on one line each."""

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
        "model.readout=null",
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
    code, said = dry(
        None, "cv=4", "cv_repeats=2", "ensemble=3", "trainer.max_steps=null", "trainer.epochs=2.5"
    )
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
        told = truth.join(table, on="subject_id", how="semi").select(
            "subject_id", answers, code=pl.lit("DISCHARGED")
        )
        pl.concat([table, told.cast({"code": table.schema["code"]})], how="diagonal").write_parquet(
            shard
        )
    words = [
        "cohorts.tiny.splits.held_out=0",
        "cohorts.tiny.splits.tuning=0",
        "modalities.notes.max_pieces=1",
    ]
    code, said = dry(cohort, *words)

    assert code == 0, said
    assert "no sample is in the tuning split" in said
    assert "no sample is in the held_out split: the run cannot be evaluated" in said
    assert (
        "modality static, code DISCHARGED, its value: tells the label of outcome almost alone"
        in said
    )
    assert re.search(
        r"notes: (\d+ %|nearly all) of the samples lose their oldest pieces \(max_pieces 1\)", said
    )


def test_samples_in_no_split_are_those_without_a_label(dry, cohort):
    table = pl.read_parquet(cohort / LABELS).with_row_index()
    few = pl.when(pl.col("index") >= 3).then("boolean_value").alias("boolean_value")
    table.with_columns(few).drop("index").write_parquet(cohort / LABELS)
    code, said = dry(cohort)
    assert code == 0, said
    assert "3 samples are in no split: they have no label" in " ".join(said.split())


def test_steps_count_before_epochs_and_it_is_said(dry):
    said = dry(None, "trainer.epochs=3")[1]
    assert "each of 6 steps of 8 samples (trainer.max_steps)" in said
    assert "note: trainer.max_steps 6 counts, not trainer.epochs 3; give one of the two" in said
    said = dry(None, "trainer.epochs=3", "trainer.max_steps=null")[1]
    assert "samples (trainer.epochs)" in said
    assert "counts, not" not in said


def test_training_says_of_empty_splits_what_the_dry_run_says(recipe, cohort, capsys):
    (cohort / SPLITS).unlink(missing_ok=True)
    words = [
        "cohorts.tiny.splits.held_out=0",
        "cohorts.tiny.splits.tuning=0",
        "trainer.max_steps=1",
    ]
    assert main(["train", str(recipe(cohort)), *words]) == 0
    said = capsys.readouterr().err
    assert (
        "note: no sample is in the tuning split: the last step is kept rather than the best" in said
    )
    assert "note: no sample is in the held_out split: the run cannot be evaluated" in said


@pytest.mark.parametrize("dried", [["trainer.max_steps=1"], ["--dry-run"]])
def test_splits_of_few_subjects_are_told(recipe, cohort, capsys, dried):
    (cohort / SPLITS).unlink(missing_ok=True)
    words = ["cohorts.tiny.splits.held_out=0.4", "cohorts.tiny.splits.tuning=0.1"]
    assert main(["train", str(recipe(cohort)), *words, *dried]) == 0
    said = capsys.readouterr().err
    assert (
        "note: fewer than 11 subjects are in the tuning split: "
        "the best step, and the calibration, are" in said
    )
    assert "in the held_out split" not in said


def test_shares_of_splits_that_do_not_count_are_told(dry, cohort):
    (cohort / SPLITS).unlink(missing_ok=True)
    told = "cohorts.tiny.splits.held_out does not count beside cv, which holds out its folds"
    assert told in " ".join(dry(cohort, "cv=4", "cohorts.tiny.splits.held_out=0.2")[1].split())
    assert told not in " ".join(dry(cohort, "cv=4")[1].split())
    subjects = pl.read_parquet(cohort / LABELS)["subject_id"].unique().sort()
    names = pl.Series(["train", "train", "tuning", "held_out"] * len(subjects)).head(len(subjects))
    pl.DataFrame({"subject_id": subjects, "split": names}).write_parquet(cohort / SPLITS)
    told = (
        "cohorts.tiny.splits: its shares do not count, since the cohort has "
        "metadata/subject_splits.parquet"
    )
    assert told in " ".join(dry(cohort, "cohorts.tiny.splits.tuning=0.3")[1].split())
    assert told not in " ".join(dry(cohort)[1].split())


@pytest.mark.parametrize("dried", [[], ["--dry-run"]])
def test_patience_without_tuning_subjects_is_refused(recipe, cohort, capsys, dried):
    subjects = pl.read_parquet(cohort / LABELS)["subject_id"].unique().sort()
    splits = pl.DataFrame({"subject_id": subjects}).with_columns(
        split=pl.when(pl.int_range(pl.len()) % 4 == 0)
        .then(pl.lit("held_out"))
        .otherwise(pl.lit("train"))
    )
    splits.write_parquet(cohort / SPLITS)
    assert main(["train", str(recipe(cohort)), *dried, "trainer.patience=2"]) == 2
    said = capsys.readouterr().err
    assert (
        "'trainer.patience' waits for tuning scores, but no sample is in the tuning split" in said
    )


def test_equal_cohorts_that_sources_wrote_are_refused_too(recipe, tmp_path, capsys):
    target = "clintune.cohort.generators.quickstart.write_quickstart"
    source = f"{{_target_: {target}, subjects: 30, image_size: 32, signal_days: 1}}"
    more = "".join(
        f"  {name}: {{root: {tmp_path / name}, source: {source}}}\n" for name in ("one", "two")
    )
    path = recipe()
    path.write_text(re.sub(r"cohorts: .*\n", f"cohorts:\n{more}", path.read_text()))
    assert main(["train", str(path), "--dry-run"]) == 2
    assert "cohorts.one and cohorts.two: have equal tables" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["image_path", "waveform_path"])
def test_a_file_that_cannot_be_read_is_refused_as_training_does(dry, cohort, kind):
    spoil(kind)(cohort)
    code, said = dry(cohort)
    assert code == 2
    assert "are unreadable, more than data.max_bad_fraction=0.0 allows; the first is data/" in said
    listed = said.strip().rpartition("; they are listed in ")[2]
    assert len(pl.read_csv(listed)) == 1
    assert dry(cohort, "data.max_bad_fraction=0.5")[0] == 0


@pytest.mark.parametrize(
    ("column", "end", "package"),
    [("image_path", ".dcm", "pydicom"), ("waveform_path", ".hea", "wfdb")],
)
def test_a_reader_not_installed_is_named_before_the_run(
    recipe, cohort, capsys, monkeypatch, tmp_path, column, end, package
):
    monkeypatch.setattr("clintune.cohort.index.is_installed", lambda module: module != package)
    assert main(["train", str(recipe(cohort)), "--dry-run"]) == 0

    renamed = [path.relative_to(cohort).as_posix() for path in media(cohort, column, 2)]
    for shard in (cohort / "data").iterdir():
        path = pl.col(column)
        new = pl.when(path.is_in(renamed)).then(path + end.upper()).otherwise(path)
        pl.read_parquet(shard).with_columns(new.alias(column)).write_parquet(shard)
    assert main(["train", str(recipe(cohort))]) == 2

    said = capsys.readouterr().err
    assert re.search(
        rf": 2 of the \d+ media files of cohort tiny end in {end}, "
        rf"and reading them needs {package}; pip",
        said,
    )
    assert not list(tmp_path.glob("runs/*/*"))


def test_missing_files_are_all_listed_before_anything_is_built(dry, cohort):
    gone = sorted((cohort / "images").iterdir())[:5]
    for path in gone:
        path.unlink()
    code, said = dry(cohort)
    assert code == 2
    listed = pl.read_csv(said.strip().rpartition("; they are listed in ")[2])
    assert listed["reason"].unique().to_list() == [
        "the media file is missing; restore it or drop the row"
    ]
    assert f"modalities.imaging: {len(listed)} of " in said
    assert "backbone" not in said


def test_one_answer_in_the_training_split_is_refused(dry, cohort):
    path = cohort / LABELS
    pl.read_parquet(path).with_columns(boolean_value=pl.lit(True)).write_parquet(path)
    code, said = dry(cohort)
    assert code == 2
    assert (
        "tasks.outcome: the train split has one answer only; nothing can be learnt from it" in said
    )
