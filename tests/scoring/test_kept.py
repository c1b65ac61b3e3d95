"""What a scoring job reads from the cache, and what of the patients it leaves there."""

import json
import shutil

import polars as pl
import pytest

from clintune.cli import main
from clintune.storage.cache_entries import TAG
from conftest import train
from helpers.folders import contents
from helpers.scored_cohorts import read, score


def test_answers_are_the_same_bits_with_and_without_a_cache(recipe, quickstart, tmp_path):
    run = train(recipe(), "backbone=minilm", f"data.cache={tmp_path / 'cache'}")
    words = ["predict", str(run), f"cohort={quickstart}", "shard_size=11"]
    pieces = contents(tmp_path / "cache" / "pieces")
    assert main([*words, f"out={tmp_path / 'warm'}", f"data.cache={tmp_path / 'cache'}"]) == 0
    assert main([*words, f"out={tmp_path / 'cold'}", f"data.cache={tmp_path / 'other'}"]) == 0
    assert read(tmp_path / "warm").equals(read(tmp_path / "cold"))
    assert contents(tmp_path / "cache" / "pieces") == pieces


@pytest.mark.parametrize("keep", [False, True])
def test_nothing_of_the_patients_stays_in_the_cache_unless_asked(
    shared_run, quickstart, tmp_path, keep
):
    out, cache = tmp_path / "out", tmp_path / "cache"
    assert score(shared_run(), quickstart, out, f"keep={str(keep).lower()}") == 0
    assert {path.name for path in cache.iterdir()} == (
        {TAG, "index", "pieces", "media"} if keep else {TAG}
    )
    assert not (out / "work").exists()
    if keep:
        again = tmp_path / "again"
        assert score(shared_run(), quickstart, again) == 0
        assert read(again).equals(read(out))


def test_the_share_that_lacks_a_modality_is_said_and_warned_of(
    shared_run, cohort, tmp_path, capsys
):
    for shard in (cohort / "data").iterdir():
        pl.read_parquet(shard).filter(pl.col("image_path").is_null()).write_parquet(shard)

    run = shared_run()
    capsys.readouterr()
    assert score(run, cohort, tmp_path / "run") == 0
    said = capsys.readouterr().err
    assert (
        "warning: 100% of the samples have no imaging (0% in training); "
        "the model was not trained for such" in said
    )
    assert "no static" not in said

    package = shutil.copytree(run / "package", tmp_path / "package")
    assert score(package, cohort, tmp_path / "alone") == 0
    said = capsys.readouterr().err
    assert (
        "warning: 100% of the samples have no imaging "
        "(the package does not say how many in training)" in said
    )
    assert json.loads((tmp_path / "alone" / "summary.json").read_text())["lacking"]["imaging"] == 1
