"""Folds of a run, each with its own split of the samples; a run without `cv` has one."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from meds.schema import held_out_split, train_split, tuning_split
from numpy.typing import NDArray

from clintune.cohort.row_source import RowSource
from clintune.cohort.samples import Samples
from clintune.cohort.shards import UNREADABLE
from clintune.cohort.splits import (
    assign_folds,
    fold_splits,
    group_folds,
    read_folds,
    subject_splits,
    subsample_train,
)
from clintune.config.schema import Cohort, Config
from clintune.core.errors import ConfigError, DataError
from clintune.core.files import atomic_path, value_sha256

SPLITS = (train_split, tuning_split, held_out_split)
_SUM = "sha256"


@dataclass(frozen=True, kw_only=True, slots=True)
class Fold:
    """One split of the samples, and the folder of what is trained on it."""

    folder: Path
    repeat: int = 0
    number: int | None = None

    @property
    def seed_parts(self) -> tuple[int, int]:
        """Return the numbers that make this fold's seeds differ from those of other folds."""
        return self.repeat, -1 if self.number is None else self.number

    @property
    def label(self) -> str:
        """Return the fold's name for messages; '' without folds."""
        return "" if self.number is None else f"repeat {self.repeat} fold {self.number}"


def folds(config: Config, run: Path, samples: Samples) -> list[Fold]:
    """Return the folds of a run, in the order in which they are trained."""
    if config.cv is None:
        return [Fold(folder=run)]

    num_folds = config.cv
    if isinstance(config.cv, str):
        num_folds = len(np.unique(read_folds(Path(config.cv), samples.indexes[0])))
    return [
        Fold(folder=run / "folds" / f"{repeat}-{fold}", repeat=repeat, number=fold)
        for repeat in range(config.cv_repeats)
        for fold in range(num_folds)
    ]


def split_of(config: Config, samples: Samples, fold: Fold) -> NDArray[np.str_]:
    """Return the split of each sample [N] in a fold, cohort by cohort.

    Samples without any known label are in none.
    """
    parts = []
    for index in samples.indexes:
        cohort = config.cohorts[index.name]
        splits, balance = cohort.splits, _balance(cohort, index)

        # Held out is a fold, or groups, or what the cohort's splits say.
        if fold.number is not None:
            folds = _folds(config.cv, cohort, index, fold.repeat)
            part = fold_splits(index, folds, fold.number, splits.tuning, splits.seed, balance)
        elif splits.group is not None:
            held_out = _held_out(cohort, index)
            part = fold_splits(index, held_out, 1, splits.tuning, splits.seed, balance)
        else:
            part = subject_splits(index, splits, balance)

        if splits.train_share < 1:
            part = subsample_train(index, part, splits.train_share, splits.seed, balance)
        parts.append(part)

    split = np.concatenate(parts)
    return np.where(samples.labelled(), split, "")


def rows_by_split(split: NDArray[np.str_]) -> dict[str, NDArray[np.int64]]:
    """Return the sample numbers of each split."""
    return {name: np.flatnonzero(split == name) for name in SPLITS}


def write_splits(path: Path, samples: Samples, split: NDArray[np.str_]) -> None:
    """Write the split of each subject, and a checksum.

    So the run folder alone says who was held out.
    """
    table = pl.DataFrame(
        {"cohort": samples.cohort, "subject_id": samples.subject_id, "split": split}
    )
    table = table.filter(pl.col("split") != "").unique(maintain_order=True)
    with atomic_path(path) as partial:
        table.write_parquet(partial, metadata={_SUM: _sum(table)})


def read_splits(path: Path, samples: Samples) -> NDArray[np.str_]:
    """Return the split of each sample [N] as a run wrote it.

    Samples of subjects that the run did not know are in none. Raises DataError for a file that is
    not as it was written.
    """
    try:
        table, written = pl.read_parquet(path, glob=False), pl.read_parquet_metadata(path).get(_SUM)
    except UNREADABLE as error:
        raise DataError(
            f"{path}: cannot be read ({type(error).__name__}); restore it, or train anew"
        ) from error
    if written != _sum(table):
        raise DataError(f"{path}: is not as the run wrote it; restore it, or train anew")

    rows = pl.DataFrame({"cohort": samples.cohort, "subject_id": samples.subject_id})
    joined = rows.join(table, on=["cohort", "subject_id"], how="left", maintain_order="left")
    split = joined["split"].fill_null("").to_numpy().astype(str)
    return np.where(samples.labelled(), split, "")


def _sum(table: pl.DataFrame) -> str:
    return value_sha256(table.to_dict(as_series=False))


def _folds(cv: int | str, cohort: Cohort, index: RowSource, repeat: int) -> NDArray[np.int64]:
    """Return the fold of each sample of a cohort [N], from 0.

    Raises ConfigError for a file of folds in a second repeat, or with another number of folds.
    """
    path = cv if isinstance(cv, str) else cohort.folds
    if path is None:
        return assign_folds(index, int(cv), cohort.splits.seed, repeat, _balance(cohort, index))

    # A file says the folds.
    if repeat:
        raise ConfigError(
            f"cohorts.{index.name}.folds is a file, which cannot be repeated; set cv_repeats=1"
        )
    names, fold = np.unique(read_folds(Path(path), index), return_inverse=True)
    if isinstance(cv, int) and len(names) != cv:
        raise ConfigError(
            f"cv={cv}, but cohorts.{index.name}.folds has {len(names)} folds; set cv={len(names)}"
        )
    return fold


def _held_out(cohort: Cohort, index: RowSource) -> NDArray[np.int64]:
    """Return 1 for each sample of a cohort that is held out by its group, else 0, [N]."""
    table, column = cohort.groups, cohort.splits.group
    assert table is not None, "the table of groups is given if a column of it is"
    assert column is not None
    return group_folds(index, Path(table), column, cohort.splits.held_out_groups)


def _balance(cohort: Cohort, index: RowSource) -> NDArray[np.float32] | None:
    task = cohort.splits.stratify
    if task is None:
        return None
    if task not in index.widths or not index.widths[task]:
        raise ConfigError(
            f"cohorts.{index.name}.splits.stratify: '{task}' is no task with labels in this cohort"
        )
    return index.targets(task)
