"""What is wrong with tables that put subjects into splits, folds or groups."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl
from meds.schema import SubjectSplitSchema, held_out_split, train_split, tuning_split

from clintune.cohort.linked import Samples, parted_problems
from clintune.cohort.shards import SUBJECT
from clintune.config.suggest import nearest
from clintune.core.disclosure import frequent
from clintune.core.problems import Problem

SPLIT = SubjectSplitSchema.split_name
SPLITS = (train_split, tuning_split, held_out_split)


def split_problems(
    path: Path, table: pl.DataFrame, part_of_sample: pl.Series, index: Samples
) -> Iterator[Problem]:
    """Yield what is wrong with a table of splits: an unknown split, and as `part_problems`.

    `part_of_sample` is the split of each sample, null where the table has none.
    """
    unknown = (~table[SPLIT].is_in(SPLITS).fill_null(False)).arg_true()
    if len(unknown):
        what = f"column {SPLIT} is none of {', '.join(SPLITS)}"
        yield Problem(f"{path}: row {unknown[0]}", what, "rename it")
    yield from part_problems(path, part_of_sample, index, "splits")


def fold_problems(path: Path, fold_of_sample: pl.Series, index: Samples) -> Iterator[Problem]:
    """Yield what is wrong with a table of folds: no numbers, and as `part_problems`."""
    if not fold_of_sample.dtype.is_integer():
        what = f"column {fold_of_sample.name} is {fold_of_sample.dtype}"
        yield Problem(str(path), what, "number the folds: cast it to int64")
    yield from part_problems(path, fold_of_sample, index, "folds")


def part_problems(
    path: Path, part_of_sample: pl.Series, index: Samples, parts: str
) -> Iterator[Problem]:
    """Yield how many subjects have no part, and whether linked subjects are in several.

    `parts` is the word for them, as "splits" or "folds".
    """
    yield from lacking_problems(path, part_of_sample, index)
    yield from parted_problems(path, part_of_sample, index, parts)


def lacking_problems(path: Path, part_of_sample: pl.Series, index: Samples) -> Iterator[Problem]:
    """Yield how many subjects with samples have no value in a column of the table `path`."""
    subjects = pl.Series(SUBJECT, index.subject_ids)
    if missing := subjects.filter(part_of_sample.is_null()).n_unique():
        what = f"{missing} subjects with samples have no {part_of_sample.name}"
        yield Problem(str(path), what, "add a row for each")


def group_problems(
    group_of_sample: pl.Series, index: Samples, held_out: Sequence[str]
) -> Iterator[Problem]:
    """Yield each of the groups `held_out` that no subject is in."""
    unknown = [name for name in held_out if not (group_of_sample == name).any()]
    if not unknown:
        return

    # The hint names no site of few people: that would tell of them.
    known = frequent(group_of_sample, index.subject_ids.tolist())
    for name in unknown:
        remedy = nearest(name, known).removeprefix("; ") or "correct its name"
        what = f"no subject is in {group_of_sample.name} '{name}'"
        yield Problem("held_out_groups", what, remedy)
