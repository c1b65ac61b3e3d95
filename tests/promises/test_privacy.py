"""Promise 6: no patient text, identifier or pixel in what leaves a run, and no small count in a report."""

import json

import polars as pl
from spoiling import LABELS, SPLITS, spoil

from clintune.cli import main
from conftest import KINDS, evaluate, plant, train

VALUE = 4711.625
"""The value of a code that few subjects have."""


def test_text_and_identifiers_of_patients_appear_in_tables_of_predictions_and_splits_only(recipe, cohort, capsys):
    plant(cohort, -1, *KINDS)
    base = 7_310_000_000
    for path in [*(cohort / "data").iterdir(), cohort / LABELS, cohort / SPLITS]:
        table = pl.read_parquet(path).with_columns(pl.col("subject_id") + base)
        if "text_value" in table.columns:
            table = table.with_columns(text_value=pl.lit("Mrs Canarybird. ") + pl.col("text_value"))
            table = table.with_columns(image_path=pl.col("image_path").str.replace("images/", "images/canarybird"))
        if path.parent.name == "data":
            own = [
                {"subject_id": s, "code": "DIAG//CANARYBIRD", "numeric_value": VALUE} for s in table["subject_id"][:1]
            ]
            table = pl.concat([table, pl.DataFrame(own, schema=table.schema)])
        table.write_parquet(path)
    for image in (cohort / "images").iterdir():
        image.rename(image.with_name(f"canarybird{image.name}"))
    spoil("image_path")(cohort)
    run = train(recipe(cohort), "data.max_bad_fraction=0.5")
    assert main(["evaluate", str(run), "--bootstrap", "10"]) == 0
    printed = capsys.readouterr()
    files = [path for path in run.rglob("*") if path.is_file()]
    open_to_all = {path for path in files if path.suffix != ".parquet"}
    assert {path.name for path in open_to_all} >= {"report.html", "metrics.json", "history.jsonl", "unreadable.csv"}
    assert {path.name for path in set(files) - open_to_all} == {"splits.parquet", "outcome.parquet"}
    for where, content in [("stdout", printed.out), ("stderr", printed.err)] + [
        (path.name, path.read_bytes().decode("latin-1")) for path in open_to_all
    ]:
        assert "canarybird" not in content.lower(), where
        assert str(base)[:6] not in content, where
        assert str(VALUE) not in content, where


def test_the_report_hides_small_counts(recipe, cohort):
    run = train(recipe(cohort), "trainer.max_steps=1")
    evaluate(run)
    held_out = json.loads((run / "metrics.json").read_text())["held_out"]["outcome"]["auroc"]
    assert held_out["n_subjects"] < 11
    report = (run / "report.html").read_text()
    assert "&lt;11" in report
    assert f"{held_out['n_subjects']} subjects" not in report
