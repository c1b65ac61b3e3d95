"""The rows of a cohort without clintune: all of its shards, and facts as a plain table."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray


def all_rows(root: Path) -> pl.DataFrame:
    """Return the rows of all shards."""
    return pl.concat([pl.read_parquet(path) for path in sorted((root / "data").glob("*.parquet"))])


def facts_of(
    rows: pl.DataFrame, subjects: Sequence[int], codes: Sequence[str]
) -> NDArray[np.float64]:
    """Return the age of each of the subjects, and whether it has each of the codes."""
    by_code = {code: rows.filter(pl.col("code") == code) for code in ("AGE", *codes)}
    ages = dict(by_code["AGE"].select("subject_id", "numeric_value").iter_rows())
    has = {code: set(by_code[code]["subject_id"]) for code in codes}
    return np.array([[ages[one], *(one in has[code] for code in codes)] for one in subjects], float)
