"""Splits and folds by subject, drawn without state.

The place of a subject depends on the subject, the seed and nothing else. Linked subjects are drawn
as one unit and stay together.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
from meds.schema import held_out_split, subject_splits_filepath, train_split, tuning_split
from numpy.typing import NDArray

from clintune.cohort.linked import Samples, linked_units, parted_problems
from clintune.cohort.shards import SUBJECT
from clintune.cohort.split_checks import (
    SPLIT,
    fold_problems,
    group_problems,
    lacking_problems,
    split_problems,
)
from clintune.cohort.subject_table import has_subject_table, read_subject_table
from clintune.config.schema import Splits
from clintune.core.errors import ConfigError
from clintune.core.problems import raise_first

EXACT = 1000
"""The largest number of subjects whose splits have exact sizes.

Of 60 subjects, one draw for each could hold out 3 instead of 9.
"""
_FEW = 5
"""The most distinct values of a target column that are balanced by value; more are by quarters."""


def subject_splits(
    index: Samples, splits: Splits, stratify: NDArray[np.float32] | None = None
) -> NDArray[np.str_]:
    """Return the split of each sample [N]: from the cohort's own file, or drawn by subject.

    `stratify` holds targets [N, T] to balance. Without it, sizes are exact for up to `EXACT`
    subjects, and beyond that number a new subject moves no other. Raises DataError for a file with
    an unknown split, a subject in two splits, a subject with samples and no split, or linked
    subjects in two splits.
    """
    path = index.root / subject_splits_filepath
    if has_subject_table(path):
        return _read_splits(path, index)

    _check_fractions(splits.tuning, splits.held_out)
    units, unit_of_sample = linked_units(index)
    draws = _draw(units, "split", splits.seed)
    if stratify is None:
        if len(units) <= EXACT:
            # Replace each draw by its rank, evenly in [0, 1).
            draws = (np.argsort(np.argsort(draws)) + 0.5) / len(units)
        held_out = draws < splits.held_out
        tuning = draws < splits.held_out + splits.tuning
    else:
        order = np.lexsort((draws, _strata(unit_of_sample, stratify)))
        held_out = _mark_evenly(order, splits.held_out)
        share_of_rest = splits.tuning / max(1 - splits.held_out, 1e-9)
        tuning = held_out | _mark_evenly(order[~held_out[order]], share_of_rest, len(units))

    names = np.select([held_out, tuning], [held_out_split, tuning_split], train_split)
    return names[unit_of_sample]


def assign_folds(
    index: Samples,
    folds: int,
    seed: int,
    repeat: int = 0,
    stratify: NDArray[np.float32] | None = None,
) -> NDArray[np.int64]:
    """Return the fold of each sample [N]: by subject, of equal size, with targets [N, T] balanced.

    Raises ConfigError for fewer than 2 folds, and for more folds than subjects.
    """
    units, unit_of_sample = linked_units(index)
    if not 2 <= folds <= len(units):
        raise ConfigError(
            f"cv: {folds} folds for {len(units)} subjects; use 2 to {len(units)} folds"
        )
    return assign_balanced(unit_of_sample, _draw(units, "fold", seed, repeat), folds, stratify)


def assign_balanced(
    unit_of_sample: NDArray[np.int64],
    draws: NDArray[np.float64],
    folds: int,
    stratify: NDArray[np.float32] | None = None,
) -> NDArray[np.int64]:
    """Assign units, in the order of their `draws`, to folds of equal size.

    Returns the fold of each sample [N]. `stratify` holds targets [N, T] to balance.
    """
    strata = _strata_or_zeros(unit_of_sample, stratify, len(draws))
    fold = np.empty(len(draws), np.int64)
    fold[np.lexsort((draws, strata))] = np.arange(len(draws)) % folds
    return fold[unit_of_sample]


def read_folds(path: Path, index: Samples) -> NDArray[np.int64]:
    """Return the fold of each sample [N] from a Parquet or CSV file (subject_id, fold).

    `path` is relative to the cohort's root. Raises DataError unless each subject with samples has
    exactly one row, with a whole number, and linked subjects are in one fold.
    """
    path = index.root / path
    folds = _of_samples(read_subject_table(path, "fold"), "fold", index)
    raise_first(fold_problems(path, folds, index))
    return folds.cast(pl.Int64).to_numpy()


def fold_splits(
    index: Samples,
    fold_of_sample: NDArray[np.int64],
    fold: int,
    tuning_fraction: float,
    seed: int,
    stratify: NDArray[np.float32] | None = None,
) -> NDArray[np.str_]:
    """Return the split of each sample [N] where `fold` is held out.

    Of the other folds, `tuning_fraction` of the subjects is drawn for tuning; targets [N, T] are
    balanced. Raises ConfigError where nothing is left to train on.
    """
    _check_fractions(tuning_fraction, 0)
    units, unit_of_sample = linked_units(index)
    held_out = np.zeros(len(units), bool)
    held_out[unit_of_sample[fold_of_sample == fold]] = True

    draws = _draw(units, "tuning", seed, fold)
    order = np.lexsort((draws, _strata_or_zeros(unit_of_sample, stratify, len(units))))
    tuning = _mark_evenly(order[~held_out[order]], tuning_fraction, len(units))
    names = np.select([held_out, tuning], [held_out_split, tuning_split], train_split)
    return names[unit_of_sample]


def group_folds(
    index: Samples, path: Path, column: str, held_out: Sequence[str]
) -> NDArray[np.int64]:
    """Return the fold of each sample [N]: 1 for subjects of some groups of a table, else 0.

    The groups `held_out` stand in a column of the table at `path`, relative to the cohort's root.
    Raises ConfigError for a group without a subject. Raises DataError unless each subject with
    samples has one group, and where some of linked subjects are held out and others are not.
    """
    path = index.root / path
    group = _of_samples(read_subject_table(path, column), column, index).cast(pl.String)
    raise_first(lacking_problems(path, group, index))
    raise_first(group_problems(group, index, held_out), ConfigError)

    is_held_out = group.is_in(list(held_out)).to_numpy()
    split = pl.Series(np.where(is_held_out, held_out_split, train_split))
    raise_first(parted_problems(path, split, index, "splits"))
    return is_held_out.astype(np.int64)


def subsample_train(
    index: Samples,
    split: NDArray[np.str_],
    share: float,
    seed: int,
    stratify: NDArray[np.float32] | None = None,
) -> NDArray[np.str_]:
    """Return the split of each sample [N] with only a share of the training subjects.

    At least one subject stays; the others are in no split. Targets [N, T] are balanced, and a
    smaller share of the same seed is a part of a larger one.
    """
    units, unit_of_sample = linked_units(index)
    training = np.unique(unit_of_sample[split == train_split])
    strata = _strata_or_zeros(unit_of_sample, stratify, len(units))
    draws = _draw(units, "share", seed)

    # Each stratum is placed evenly along [0, 1), from a random start. So the first p of all units
    # hold about p of each stratum.
    place = np.empty(len(units))
    for stratum in np.unique(strata[training]):
        members = training[strata[training] == stratum]
        members = members[np.argsort(draws[members])]
        place[members] = (np.arange(len(members)) + draws[members[-1]]) / len(members)

    num_kept = max(1, round(share * len(training)))
    kept = training[np.argsort(place[training], kind="stable")][:num_kept]
    left_out = (split == train_split) & ~np.isin(unit_of_sample, kept)
    return np.where(left_out, "", split)


def _draw(units: NDArray[np.int64], *purpose: int | str) -> NDArray[np.float64]:
    """Return a number in [0, 1) for each unit, which depends on the unit and the purpose alone."""
    keys = [":".join(map(str, (*purpose, unit))).encode() for unit in units.tolist()]
    digests = b"".join(hashlib.blake2b(key, digest_size=8).digest() for key in keys)
    return np.frombuffer(digests, ">u8").astype(np.float64) / 2.0**64


def _strata(unit_of_sample: NDArray[np.int64], targets: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the stratum of each unit: like targets next to like, unknown ones apart.

    A unit counts with its largest target, so a subject who is ever positive is positive.
    """
    by_sample = pl.DataFrame(targets.reshape(len(unit_of_sample), -1)).fill_nan(None)
    by_unit = by_sample.group_by(pl.Series("unit", unit_of_sample))
    largest = by_unit.max().sort("unit").drop("unit")
    bins = np.stack([_bins(column.to_numpy()) for column in largest.iter_columns()], axis=1)

    # Strata are ordered by the sum of their bins, so that like ones stand side by side.
    ordered = np.column_stack([bins.sum(1), bins])
    return np.unique(ordered, axis=0, return_inverse=True)[1].astype(np.int64)


def _strata_or_zeros(
    unit_of_sample: NDArray[np.int64], targets: NDArray[np.float32] | None, num_units: int
) -> NDArray[np.int64]:
    """Return the stratum of each unit; one stratum for all where no targets are balanced."""
    if targets is None:
        return np.zeros(num_units, np.int64)
    return _strata(unit_of_sample, targets)


def _bins(values: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the bin of each value: its rank among few distinct values, else its quarter."""
    known = values[~np.isnan(values)]
    distinct = np.unique(known)
    edges = distinct if len(distinct) <= _FEW else np.quantile(known, [0.25, 0.5, 0.75])
    return np.where(np.isnan(values), -1, np.searchsorted(edges, values, "right"))


def _mark_evenly(
    order: NDArray[np.int64], fraction: float, length: int | None = None
) -> NDArray[np.bool_]:
    """Mark a fraction of `order`, evenly along it.

    Any run of `order`, such as a stratum, has its share of marks, give or take one.
    """
    steps = np.floor(np.arange(len(order) + 1) * fraction + 0.5)
    marked = np.zeros(len(order) if length is None else length, bool)
    marked[order[np.diff(steps) > 0]] = True
    return marked


def _check_fractions(tuning: float, held_out: float) -> None:
    """Raise ConfigError where nothing is left to train on."""
    if tuning + held_out >= 1:
        raise ConfigError(
            f"splits: tuning {tuning} and held_out {held_out} leave nothing to train on; lower them"
        )


def _read_splits(path: Path, index: Samples) -> NDArray[np.str_]:
    """Return the split of each sample [N] from the cohort's own file; see `subject_splits`."""
    table = read_subject_table(path, SPLIT)
    splits = _of_samples(table, SPLIT, index)
    raise_first(split_problems(path, table, splits, index))
    return splits.to_numpy().astype(np.str_)


def _of_samples(table: pl.DataFrame, column: str, index: Samples) -> pl.Series:
    """Return a column of a subject table for each sample [N]; null where its subject has none."""
    samples = pl.DataFrame({SUBJECT: index.subject_ids})
    return samples.join(table, on=SUBJECT, how="left", maintain_order="left")[column]
