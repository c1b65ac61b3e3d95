"""Cohorts scored with a tiny package."""

from pathlib import Path

import polars as pl

from clintune.cli import main


def score(package, root, out, *words):
    """Score a cohort in this process with a cache beside `out`; return the exit code."""
    cache = f"data.cache={out.parent / 'cache'}"
    return main(["predict", str(package), f"cohort={root}", f"out={out}", cache, *words])


def read(out, task="outcome"):
    """Return the predictions of all shards in one table."""
    return pl.read_parquet(sorted(Path(out, "predictions", task).glob("*.parquet")))
