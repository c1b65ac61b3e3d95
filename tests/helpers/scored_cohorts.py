"""Cohorts scored with a tiny package."""

from pathlib import Path

import polars as pl

from clintune.cli import main


def words_of(package, root, out, *words):
    """Return the words of a command that scores a cohort, with a cache beside `out`."""
    cache = f"data.cache={out.parent / 'cache'}"
    return ["predict", str(package), f"cohort={root}", f"out={out}", cache, *words]


def score(package, root, out, *words):
    """Score a cohort in this process; return the exit code."""
    return main(words_of(package, root, out, *words))


def read(out, task="outcome"):
    """Return the predictions of all shards in one table."""
    return pl.read_parquet(sorted(Path(out, "predictions", task).glob("*.parquet")))


def risks(out):
    """Return the calibrated probability of each sample."""
    return read(out)["predicted_boolean_probability"].to_numpy()


def labels_of(root):
    """Return the labels of a quickstart cohort."""
    return pl.read_parquet(root / "labels" / "deterioration.parquet")


def samples_of(root):
    """Return subject and prediction time of the labels of a quickstart cohort."""
    return labels_of(root).select("subject_id", "prediction_time")
