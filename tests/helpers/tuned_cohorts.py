"""Quickstart cohorts of which half is for tuning, so that models can be calibrated."""

from pathlib import Path

import numpy as np
import polars as pl

from clintune.cohort.generators.quickstart import write_quickstart


def write_tuned(root: Path, subjects: int) -> None:
    """Write a cohort with enough tuning subjects of both answers to calibrate on."""
    write_quickstart(root, subjects=subjects, image_size=32, signal_days=1)
    path = root / "metadata" / "subject_splits.parquet"
    splits = pl.read_parquet(path)
    names = np.resize(["train", "tuning", "tuning", "held_out"], len(splits))
    splits.with_columns(split=pl.Series(names)).write_parquet(path)
