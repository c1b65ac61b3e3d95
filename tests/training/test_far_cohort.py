"""A cohort behind a URL trains what the same cohort on disk does."""

import os

import fsspec
import polars as pl

from clintune.cli import main
from conftest import evaluate, train, weights
from helpers.webserver import WebServer


def test_a_run_over_the_web_repeats_that_from_disk(recipe, cohort, tmp_path, capsys):
    steps = "trainer.max_steps=2"
    here = train(recipe(cohort), f"data.cache={tmp_path / 'cache'}", steps)
    with WebServer(cohort.parent).running() as web:
        far = f"{web.url}/{cohort.name}"
        there = train(recipe(far), f"data.cache={tmp_path / 'other'}", steps)
        assert weights(there) == weights(here)
        evaluate(there)
        assert set(web.files().values()) == {1}
        media = {path for path in web.files() if path.endswith((".png", ".npz"))}
        assert len(media) > 20
        labels = cohort / "labels" / "deterioration.parquet"
        table = pl.read_parquet(labels)
        table.with_columns(~pl.col("boolean_value")).write_parquet(labels)
        os.utime(labels, (1e9, 1e9))
        assert main(["evaluate", str(there), "--bootstrap", "10"]) == 2
        assert "labels/deterioration.parquet: is not as it was when" in capsys.readouterr().err

    assert "root: http://" in (there / "recipe.yaml").read_text()


def test_a_run_from_object_storage_repeats_that_from_disk(recipe, quickstart, tmp_path):
    memory = fsspec.filesystem("memory")
    memory.put(f"{quickstart}/", "/bucket/tiny", recursive=True)
    words = ["trainer.max_steps=1"]
    here, there = (
        train(recipe(root), f"data.cache={tmp_path / name}", *words)
        for name, root in (("cache", quickstart), ("other", "memory://bucket/tiny"))
    )
    memory.rm("/bucket", recursive=True)
    assert weights(there) == weights(here)
