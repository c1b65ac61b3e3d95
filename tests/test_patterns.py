"""No path of a user's is taken for a pattern: `site[1]` is not `site1`."""

import ast
import shutil
from pathlib import Path

import polars as pl
import pytest

from clintune.cli import main
from clintune.evaluation.predictions import read_predictions
from clintune.tasks.binary import Binary
from conftest import evaluate, train

SOURCE = Path(__file__).parents[1] / "src" / "clintune"
NEVER_A_PATTERN = {"read_parquet_metadata", "read_parquet_schema"}
"""Readers of polars that open just the file they are given, and have no `glob`."""


def readers(tree):
    """Yield each use of a reader of polars, with the call that it stands in, if it does."""
    calls = {id(node.func): node for node in ast.walk(tree) if isinstance(node, ast.Call)}
    for node in ast.walk(tree):
        is_of_polars = isinstance(node, ast.Attribute) and getattr(node.value, "id", "") in (
            "pl",
            "polars",
        )
        if (
            is_of_polars
            and node.attr.startswith(("read_", "scan_"))
            and node.attr not in NEVER_A_PATTERN
        ):
            yield node, calls.get(id(node))


def takes_patterns(call):
    if call is None:
        return True
    given = [word.value for word in call.keywords if word.arg == "glob"]
    return not (given and isinstance(given[0], ast.Constant) and given[0].value is False)


def test_readers_of_polars_are_told_a_path_is_no_pattern():
    trees = {path: ast.parse(path.read_text()) for path in SOURCE.rglob("*.py")}
    found = {
        (path, node.lineno): call for path, tree in trees.items() for node, call in readers(tree)
    }
    assert len(found) > 5, "this test no longer finds the readers"
    assert [
        f"{path.relative_to(SOURCE)}:{line}"
        for (path, line), call in found.items()
        if takes_patterns(call)
    ] == []


def test_polars_is_imported_whole():
    """`from polars import read_parquet` would hide a reader from the test above."""
    names = [
        f"{path.relative_to(SOURCE)}: {alias.name}"
        for path in SOURCE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and node.module == "polars"
        for alias in node.names
    ]
    assert names == []


@pytest.fixture
def shadowed(quickstart, tmp_path):
    """Return a cohort whose folder is a pattern that fits the one beside it, of other subjects."""
    root = shutil.copytree(quickstart, tmp_path / "hospital [v2]" / "site[1]?*")
    other = shutil.copytree(quickstart, tmp_path / "hospital [v2]" / "site1xx")
    for table in [
        *other.glob("data/*.parquet"),
        *other.glob("labels/*"),
        *other.glob("metadata/*.parquet"),
    ]:
        rows = pl.read_parquet(table, glob=False)
        if "subject_id" in rows.columns:
            rows.with_columns(pl.col("subject_id") + 1000).write_parquet(table)
    for name in ("out[24h]", "out2"):
        shutil.copy(root / "labels/deterioration.parquet", root / "labels" / f"{name}.parquet")
    return root


def test_brackets_in_every_name_lead_to_just_that_file(shadowed, recipe, tmp_path):
    task = "{_target_: clintune.tasks.binary.Binary, label: 'out[24h]'}"
    text = recipe("'" + str(shadowed) + "'").read_text()
    lines = [
        line for line in text.splitlines() if not line.startswith(("tasks:", "  - task@", "runs:"))
    ]
    folder = tmp_path / "study [v2]"
    folder.mkdir()
    extra = f"tasks: {{'out[24h]': {task}}}\nruns: '{folder}/runs*'\n"
    (folder / "mine.yaml").write_text("\n".join(lines) + "\n" + extra)

    run = train(folder / "mine.yaml")
    subjects = set(pl.read_parquet(shadowed / "labels/out2.parquet", glob=False)["subject_id"])
    assert set(pl.read_parquet(run / "splits.parquet", glob=False)["subject_id"]) <= subjects

    evaluate(run)
    written = pl.read_parquet(run / "predictions/held_out/out[24h].parquet", glob=False)
    assert set(written["subject_id"]) <= subjects
    task = Binary(label="out[24h]")
    assert len(read_predictions(run / "predictions/held_out", "out[24h]", task).subject_id) == len(
        written
    )

    out = tmp_path / "scores [a]?"
    times = tmp_path / "when[ever].parquet"
    pl.read_parquet(shadowed / "labels/out2.parquet", glob=False).write_parquet(times)
    words = [
        f"cohort={shadowed}",
        f"out='{out}'",
        f"times='{times}'",
        f"data.cache='{tmp_path}/cache [c]'",
    ]
    assert main(["predict", str(run), *words]) == 0
    (shard,) = (out / "predictions/out[24h]").iterdir()
    assert set(pl.read_parquet(shard, glob=False)["subject_id"]) == subjects
