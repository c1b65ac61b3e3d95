"""Import WHAS, survival after a heart attack, as DeepSurv has it (Katzman et al., 2018).

The file repeats people: of 1,638 rows 732 have features of their own, and the others stand beside a twin whose outcome
is the same, in the official test part and the training part alike. They are linked, so that no fold knows its answers.
The columns have no names; which of them is the age can be seen, but nothing here depends on it.
"""

from importlib import import_module
from pathlib import Path

import numpy as np
import polars as pl

from clintune.cohort.importers.facts import FLOAT, write_folds, write_outcome, write_people
from clintune.cohort.writer import BOOLEAN
from clintune.core.errors import DataError
from clintune.core.extras import how_to_install, is_installed

_HOME = "https://github.com/jaredleekatzman/DeepSurv"
_FILE = "deepsurv_whas.h5"
_PARTS = ("train", "test")
_NUM_FEATURES = 6
_MEASURED = (1, 3)


def import_whas(root: Path, raw: Path) -> None:
    """Write the cohort to `root` from `deepsurv_whas.h5` in `raw`, both of its parts; label: survival, in days.

    Subjects are numbered in the order of the rows, from 1. Raises DataError for a file that cannot be read, and where
    the package that reads it is missing.
    """
    features, days, seen = _read(raw / _FILE)
    subjects = pl.Series(range(1, len(features) + 1), dtype=pl.Int64)
    facts = {}
    for place in range(_NUM_FEATURES):
        column = pl.Series(features[:, place].astype(np.float64))
        facts[f"FEATURE_{place}"] = column if place in _MEASURED else column.cast(pl.Int64).cast(pl.String)
    write_people(root, "whas", subjects, facts)
    events = pl.Series(seen.astype(np.int64))
    write_outcome(root, "survival", subjects, {FLOAT: pl.Series(days), BOOLEAN: events > 0})
    write_folds(root, subjects, events)


def _read(path: Path) -> list[np.ndarray]:
    """Return features [N, F], days [N] and whether the end was seen [N], of both parts."""
    if not path.is_file():
        raise DataError(f"{path}: is missing; download the data set from {_HOME}, or correct `raw`")
    if not is_installed("h5py"):
        raise DataError(f"{path}: is an HDF5 file, which h5py reads; {how_to_install('h5py')}")
    try:
        with import_module("h5py").File(path, "r") as file:
            parts = [[file[part][name][:] for name in ("x", "t", "e")] for part in _PARTS]
        features, days, seen = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    except (OSError, KeyError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({type(error).__name__}); download it again from {_HOME}") from error
    shapes = [features.shape, days.shape, seen.shape]
    if shapes != [(len(days), _NUM_FEATURES), (len(days),), (len(days),)] or not np.isfinite(features).all():
        raise DataError(f"{path}: does not hold {_NUM_FEATURES} features, a time and an end a row; download it again")
    return [features, days, seen]
