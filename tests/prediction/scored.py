"""Cohorts scored with a tiny package, for the tests of this folder."""

from pathlib import Path

import polars as pl

from clintune.cli import main
from clintune.config.compose import compose_recipe
from clintune.training.run import train_run
from conftest import RECIPE


def trained(root, folder, *overrides):
    """Return the folder of a run over the cohort at `root`, trained below `folder`."""
    recipe = folder / "tiny.yaml"
    places = {"ROOT": root, "CACHE": folder / "cache", "RUNS": folder / "runs"}
    text = RECIPE
    for name, place in places.items():
        text = text.replace(name, str(place))
    recipe.write_text(text)
    return train_run(compose_recipe(recipe, overrides))


def score(package, root, out, *words):
    """Score a cohort in this process with a cache beside `out`; return the exit code."""
    cache = f"data.cache={out.parent / 'cache'}"
    return main(["predict", str(package), f"cohort={root}", f"out={out}", cache, *words])


def read(out, task="outcome"):
    """Return the predictions of all shards in one table."""
    return pl.read_parquet(sorted(Path(out, "predictions", task).glob("*.parquet")))
