"""Promise 4: bad input gets a line with file, row, column and remedy; nothing is skipped."""

import shutil
from pathlib import Path

import polars as pl
import pytest

from clintune.cli import main
from conftest import evaluate, train
from helpers.spoiling import (
    LABELS,
    LINKED,
    SHARD,
    SPLITS,
    change,
    copy_subject,
    garbage,
    spoil,
    text,
)

BAD = {
    "corrupt image": (spoil("image_path"), [SHARD, "row "]),
    "empty image": (spoil("image_path", b""), [SHARD, "row "]),
    "missing image": (spoil("image_path", None), [SHARD, "row "]),
    "corrupt signal": (spoil("waveform_path"), [SHARD, "row "]),
    "missing signal": (spoil("waveform_path", None), [SHARD, "row "]),
    "unreadable shard": (garbage(SHARD), [SHARD, "Parquet"]),
    "unreadable labels": (garbage(LABELS), [LABELS, "Parquet"]),
    "unreadable splits": (garbage(SPLITS), [SPLITS, "table"]),
    "no shard": (lambda root: shutil.rmtree(root / "data"), ["data", "no Parquet file"]),
    "data without code": (change(SHARD, lambda t: t.drop("code")), [SHARD, "column code"]),
    "data with a null code": (
        change(
            SHARD, lambda t: t.with_columns(code=pl.when(pl.int_range(pl.len()) != 5).then("code"))
        ),
        [SHARD, "row 5", "column code"],
    ),
    "time as text": (change(SHARD, lambda t: t.with_columns(text("time"))), [SHARD, "column time"]),
    "subject as text": (
        change(SHARD, lambda t: t.with_columns(text("subject_id"))),
        [SHARD, "column subject_id"],
    ),
    "subject in two shards": (copy_subject, [SHARD, "data/1.parquet"]),
    "media outside": (
        change(SHARD, lambda t: t.with_columns(image_path=pl.lit("../SECRET.png"))),
        [SHARD, "row 0", "column image_path"],
    ),
    "media column not declared": (
        lambda root: (root / "metadata/dataset.json").write_text("{}"),
        [SHARD, "media column", "metadata/dataset.json"],
    ),
    "dataset.json": (garbage("metadata/dataset.json"), ["metadata/dataset.json"]),
    "numbers as labels": (
        change(LABELS, lambda t: t.with_columns(pl.col("boolean_value").cast(pl.Int64))),
        [LABELS, "column boolean_value"],
    ),
    "labels without time": (
        change(LABELS, lambda t: t.drop("prediction_time")),
        [LABELS, "column prediction_time"],
    ),
    "label times as text": (
        change(LABELS, lambda t: t.with_columns(text("prediction_time"))),
        [LABELS, "column prediction_time"],
    ),
    "label times as days": (
        change(LABELS, lambda t: t.with_columns(pl.col("prediction_time").dt.date())),
        [LABELS, "column prediction_time"],
    ),
    "null label time": (
        change(
            LABELS,
            lambda t: t.with_columns(
                prediction_time=pl.when(pl.int_range(pl.len()) != 3).then("prediction_time")
            ),
        ),
        [LABELS, "row 3", "column prediction_time"],
    ),
    "label subjects as text": (
        change(LABELS, lambda t: t.with_columns(text("subject_id"))),
        [LABELS, "column subject_id"],
    ),
    "label twice": (change(LABELS, lambda t: pl.concat([t, t.head(1)])), [LABELS, "row 0"]),
    "label of a stranger": (
        change(
            LABELS,
            lambda t: pl.concat([t, t.head(1).with_columns(subject_id=pl.lit(99, pl.Int64))]),
        ),
        ["1 subject labelled", "data/"],
    ),
    "no label file": (
        lambda root: (root / LABELS).unlink(),
        [
            "tasks.outcome.label",
            "labels/deterioration.parquet",
            "task_labels/deterioration.parquet",
        ],
    ),
    "unknown labels": (
        change(LABELS, lambda t: t.with_columns(boolean_value=pl.lit(None, pl.Boolean))),
        ["tasks.outcome", "'deterioration' is unknown (null)"],
    ),
    "labels of one class": (
        change(LABELS, lambda t: t.with_columns(boolean_value=pl.lit(True))),
        ["tasks.outcome", "one answer only"],
    ),
    "labels with a zone": (
        change(
            LABELS, lambda t: t.with_columns(pl.col("prediction_time").dt.replace_time_zone("UTC"))
        ),
        [LABELS, "column prediction_time has a time zone", "data/0.parquet"],
    ),
    "labels in two places": (
        lambda root: shutil.copytree(root / "labels", root / "task_labels"),
        [LABELS, "task_labels/deterioration.parquet", "keep one"],
    ),
    "linked subjects parted": (
        lambda root: pl.DataFrame({"subject_id": range(1, 41), "unit": [7] * 40}).write_parquet(
            root / LINKED
        ),
        [SPLITS, "parts linked subjects", LINKED],
    ),
    "subject beyond int64": (
        change(LABELS, lambda t: t.with_columns(subject_id=pl.lit(2**63, pl.UInt64))),
        [LABELS, "too large for int64"],
    ),
    "unknown split": (
        change(
            SPLITS, lambda t: t.with_columns(split=pl.col("split").replace("tuning", "validation"))
        ),
        [SPLITS, "row 24", "column split"],
    ),
    "subject in two splits": (
        change(SPLITS, lambda t: pl.concat([t, t.head(1).with_columns(split=pl.lit("held_out"))])),
        [SPLITS, "row 0"],
    ),
    "subject in no split": (change(SPLITS, lambda t: t.tail(39)), [SPLITS, "1 subject"]),
    "splits without split": (change(SPLITS, lambda t: t.drop("split")), [SPLITS, "column split"]),
    "nothing to train on": (
        change(SPLITS, lambda t: t.with_columns(split=pl.lit("held_out"))),
        ["training split"],
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_gets_one_line_that_says_where(recipe, cohort, capsys, case):
    spoil_it, fragments = BAD[case]
    spoil_it(cohort)
    code = main(["train", str(recipe(cohort)), "trainer.max_steps=1"])
    printed = capsys.readouterr().err
    lines = [line for line in printed.splitlines() if line.startswith("clintune: ")]
    assert len(lines) == 1, printed
    assert printed.rstrip().endswith(lines[0]), "the error is more than one line, or not the last"
    assert code == 2, printed
    assert all(fragment in lines[0] for fragment in fragments), lines[0]
    assert "Traceback" not in printed
    assert "SECRET" not in printed


def test_a_cohort_that_is_not_there_gets_one_line(recipe, tmp_path, capsys):
    assert main(["train", str(recipe(tmp_path / "nowhere"))]) == 2
    assert "cohorts.tiny.root" in capsys.readouterr().err


def test_few_unreadable_items_are_listed_and_many_stop_the_run(recipe, cohort, capsys):
    spoil("image_path", number=2)(cohort)
    spoil("waveform_path")(cohort)
    assert main(["train", str(recipe(cohort)), "data.max_bad_fraction=0.01"]) == 2

    said = capsys.readouterr().err
    assert "2 of " in said, "items of like content count each"

    listed = Path(said.strip().rpartition("; they are listed in ")[2])
    assert listed.name == "unreadable.csv"

    refused = pl.read_csv(listed)
    assert refused["modality"].to_list() == ["imaging", "imaging"]
    assert main(["train", "--resume", str(listed.parent), "data.max_bad_fraction=0.01"]) == 2
    assert pl.read_csv(listed).equals(refused)

    capsys.readouterr()
    run = train(recipe(cohort), "data.max_bad_fraction=0.1")
    assert "3 unreadable items" in capsys.readouterr().err

    listed = pl.read_csv(run / "unreadable.csv")
    assert sorted(listed["modality"]) == ["imaging", "imaging", "wearable"]
    assert listed["row"].str.contains(r"^data/\d\.parquet: row \d+$").all()
    assert not listed["reason"].str.contains("row").any(), "the row stands in its own column"

    evaluate(run)
    assert pl.read_csv(run / "unreadable.csv").equals(listed), (
        "evaluation forgets what training listed"
    )
