"""Promise 6: no patient text, identifier or pixel leaves a run, and no report a small count."""

import html
import json
from pathlib import Path

import polars as pl

from clintune.cli import main
from clintune.experiment.limits import read_limits
from conftest import KINDS, evaluate, plant, train
from helpers.spoiling import LABELS, SPLITS, spoil

VALUE = 4711.625
"""The value of a code that few subjects have."""


def test_text_and_ids_of_patients_stand_in_few_tables_only(recipe, cohort, capsys):
    plant(cohort, -1, *KINDS)
    base = 7_310_000_000
    for path in [*(cohort / "data").iterdir(), cohort / LABELS, cohort / SPLITS]:
        table = pl.read_parquet(path).with_columns(pl.col("subject_id") + base)
        if "text_value" in table.columns:
            table = table.with_columns(text_value=pl.lit("Mrs Canarybird. ") + pl.col("text_value"))
            table = table.with_columns(
                image_path=pl.col("image_path").str.replace("images/", "images/canarybird")
            )
        if path.parent.name == "data":
            own = [
                {"subject_id": s, "code": "DIAG//CANARYBIRD", "numeric_value": VALUE}
                for s in table["subject_id"][:1]
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
    assert {path.name for path in open_to_all} >= {
        "report.html",
        "metrics.json",
        "history.jsonl",
        "unreadable.csv",
    }
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
    limits = read_limits(run)["sentences"]
    assert any("lose their oldest pieces" in sentence for sentence in limits)
    assert all(html.escape(sentence) in report for sentence in limits)


def test_what_the_command_line_writes_is_its_owners_alone(recipe, cohort, tmp_path, capsys):
    cache = tmp_path / "private"
    assert main(["train", str(recipe(cohort)), "trainer.max_steps=1", f"data.cache={cache}"]) == 0
    run = Path(capsys.readouterr().out.strip())
    words = [f"cohort={cohort}", f"out={tmp_path / 'out'}", f"data.cache={cache}"]
    assert main(["predict", str(run), *words]) == 0
    assert not [
        path
        for folder in (cache, run.parent, tmp_path / "out")
        for path in (folder, *folder.rglob("*"))
        if path.stat().st_mode & 0o077
    ]
