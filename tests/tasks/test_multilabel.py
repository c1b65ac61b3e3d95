"""Multilabel: joining phenotype files."""

import numpy as np
import pytest

from clintune.core.errors import DataError
from clintune.tasks.multilabel import Multilabel
from helpers.label_files import write_labels


def write(root, name, labels):
    path = root / "labels/pheno" / f"{name}.parquet"
    write_labels(path, list(labels.values()), subjects=list(labels))


def targets(table):
    return {row["subject_id"]: row["target"] for row in table.to_dicts()}


def test_a_sample_missing_from_a_phenotype_is_unknown_there(tmp_path):
    write(tmp_path, "sepsis", {1: True, 2: False})
    write(tmp_path, "aki", {2: True, 3: None})
    task = Multilabel(label="pheno")
    table = targets(task.read(tmp_path))
    assert task.output_names == ["aki", "sepsis"]
    np.testing.assert_array_equal(
        [table[i] for i in (1, 2, 3)], [[np.nan, 1], [1, 0], [np.nan, np.nan]]
    )


def test_a_later_cohort_may_lack_a_phenotype_but_not_add_one(tmp_path):
    first, fewer, more = (tmp_path / name for name in ("first", "fewer", "more"))
    for name in ("aki", "sepsis"):
        write(first, name, {1: True})
    write(fewer, "sepsis", {1: True})
    write(more, "stroke", {1: True})
    task = Multilabel(label="pheno")
    task.read(first)
    np.testing.assert_array_equal(targets(task.read(fewer))[1], [np.nan, 1])
    with pytest.raises(DataError, match=r"stroke.parquet: not among the task's phenotypes"):
        task.read(more)


def test_a_cohort_without_the_folder_has_no_labels(tmp_path):
    assert Multilabel(label="pheno").read(tmp_path) is None
