"""Import WHAS, survival after a heart attack, from DeepSurv (Katzman et al., 2018).

The file repeats people up to twelve times, more often the longer they lived, and across its parts:
230 of its 328 test rows are in training, too. Both parts are read as one, and each person once. The
columns have no names. One can see which of them is the age, but nothing here depends on it.
"""

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from clintune.cohort.datasets.facts import FLOAT, write_folds, write_outcome, write_people
from clintune.cohort.writer import BOOLEAN
from clintune.core.console import console
from clintune.core.errors import DataError
from clintune.core.extras import how_to_install, is_installed

_HOME = "https://github.com/jaredleekatzman/DeepSurv"
_FILE = "deepsurv_whas.h5"
_PARTS = ("train", "test")
_NUM_FEATURES = 6
_MEASURED = (1, 3)


def import_whas(root: Path, raw: Path) -> None:
    """Write the cohort to `root` from both parts of `deepsurv_whas.h5` in `raw`.

    Label: survival, in days. Subjects are numbered in the order of their first rows, from 1; rows
    that repeat one are counted and left out. Raises DataError for a file that cannot be read, and
    where the package that reads it is missing.
    """
    features, days, seen = _without_repeats(*_read(raw / _FILE))
    subjects = pl.Series(range(1, len(features) + 1), dtype=pl.Int64)
    facts = {}
    for place in range(_NUM_FEATURES):
        column = pl.Series(features[:, place].astype(np.float64))
        is_class = place not in _MEASURED
        facts[f"FEATURE_{place}"] = column.cast(pl.Int64).cast(pl.String) if is_class else column
    write_people(root, "whas", subjects, facts)

    events = pl.Series(seen.astype(np.int64))
    write_outcome(root, "survival", subjects, {FLOAT: pl.Series(days), BOOLEAN: events > 0})
    write_folds(root, subjects, events)


def _without_repeats(*arrays: NDArray[Any]) -> list[NDArray[Any]]:
    """Return rows in their order, without those that repeat an earlier one."""
    rows = np.column_stack(arrays)
    first = np.sort(np.unique(rows, axis=0, return_index=True)[1])
    if len(first) < len(rows):
        console.print(
            f"whas: {len(rows) - len(first)} of {len(rows)} rows repeat a person and are left out"
        )
    return [array[first] for array in arrays]


def _read(path: Path) -> list[NDArray[Any]]:
    """Return features [N, F], days [N], and whether the end was seen [N], of both parts.

    Raises DataError for a file that cannot be read, and where the package that reads it is missing.
    """
    if not path.is_file():
        raise DataError(f"{path}: is missing; download the data set from {_HOME}, or correct `raw`")
    if not is_installed("h5py"):
        raise DataError(f"{path}: is an HDF5 file, which h5py reads; {how_to_install('h5py')}")

    try:
        with import_module("h5py").File(path, "r") as file:
            features, days, seen = (_both_parts(file, name) for name in ("x", "t", "e"))
    except (OSError, KeyError, ValueError) as error:
        raise DataError(
            f"{path}: cannot be read ({type(error).__name__}); download it again from {_HOME}"
        ) from error

    # One row a person in each array.
    shapes = [features.shape, days.shape, seen.shape]
    expected = [(len(days), _NUM_FEATURES), (len(days),), (len(days),)]
    if shapes != expected or not np.isfinite(features).all():
        raise DataError(
            f"{path}: does not hold {_NUM_FEATURES} features, a time and an end a row; "
            "download it again"
        )
    return [features, days, seen]


def _both_parts(file: Any, name: str) -> NDArray[Any]:
    """Return an array of both parts as one."""
    joined: NDArray[Any] = np.concatenate([file[part][name][:] for part in _PARTS])
    return joined
