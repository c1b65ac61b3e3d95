"""Checks find every problem of their kind, while the callers of today raise the first."""

from datetime import datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from clintune.cohort.build import RowSelection, column_problems
from clintune.cohort.clock import clock_of, cohort_has_zone, zone_problems
from clintune.cohort.labels import checked_keys, key_problems, label_values, value_problems
from clintune.cohort.linked import LINKED_FILE
from clintune.cohort.shards import (
    ROW,
    path_problems,
    read_subjects,
    row_problems,
    schema_problems,
    typed,
)
from clintune.cohort.split_checks import group_problems, split_problems
from clintune.cohort.splits import subject_splits
from clintune.cohort.subject_table import read_subject_table, table_problems
from clintune.cohort.writer import write_subject_table
from clintune.config.schema import Splits
from clintune.core.errors import DataError
from helpers.cohort_samples import People

NOON = datetime(2020, 1, 1, 12)


def whats(problems):
    return [problem.what for problem in problems]


def assert_first_is_raised(problems, call, *given):
    with pytest.raises(DataError) as error:
        call(*given)
    assert str(error.value) == str(problems[0])


def test_every_wrong_column_of_a_shard_is_found():
    table = pl.DataFrame(
        {"subject_id": ["1"], "code": [b"a"], "value": [1.0], "image_path": [3], "note": [None]}
    )
    scan = table.lazy().with_row_index(ROW)
    problems = list(schema_problems(scan.collect_schema(), "here", ["image_path"]))
    assert whats(problems) == [
        "lacks column time",
        "column 'value' is not read",
        "column subject_id is String",
        "column code is Binary",
        "media column image_path is Int64",
    ]
    assert_first_is_raised(problems, typed, scan, "here", ["image_path"])


def test_the_first_row_of_every_fault_is_found():
    table = pl.DataFrame(
        {"subject_id": [1, 1, None, None, 1, 1], "code": ["a", " ", "b", None, None, ""]}
    )
    scan = table.lazy().with_row_index(ROW)
    problems = list(row_problems(scan, "here"))
    assert list(map(str, problems)) == [
        f"here: row {row}: column {what}; give it a value or drop the row"
        for row, what in ((1, "code is empty text"), (2, "subject_id is null"), (3, "code is null"))
    ]
    assert_first_is_raised(problems, read_subjects, scan, "here")


def test_every_fault_of_media_paths_is_found():
    paths = pl.DataFrame({"path": ["a.png", "/b.png", "", "../c.png"], ROW: [4, 5, 6, 7]})
    assert [problem.where for problem in path_problems(paths, "image_path", "here")] == [
        "here: row 6",
        "here: row 5",
    ]


def test_every_column_that_a_modality_misses_is_found():
    claim = RowSelection((pl.col("unit") == "mg") & (pl.col("route") == "oral"), "image_path")
    columns = ["subject_id", "time", "code", "image_path"]
    assert [what.partition(",")[0] for what in whats(column_problems(columns, "x", claim, []))] == [
        "has media column image_path",
        "lacks column route",
        "lacks column unit",
    ]


def test_every_shard_of_another_clock_is_found(tmp_path):
    (tmp_path / "data").mkdir()
    times, names = pl.Series("time", [NOON]), [f"data/{number}.parquet" for number in range(4)]
    for name, zone in zip(names, (None, "UTC", None, "UTC"), strict=True):
        times.dt.replace_time_zone(zone).to_frame().write_parquet(tmp_path / name)
    problems = list(zone_problems(tmp_path, names, clock_of(tmp_path)))
    assert [problem.where for problem in problems] == [names[1], names[3]]
    assert_first_is_raised(problems, cohort_has_zone, tmp_path, names)


def test_every_fault_of_label_keys_is_found():
    late = datetime(9999, 12, 31, 12)
    table = pl.DataFrame(
        {
            "subject_id": [1, None, 2, 3, 2, None],
            "prediction_time": [NOON, NOON, NOON, late, NOON, NOON],
        }
    )
    problems = list(key_problems(table, "here", ("data/0.parquet", True)))
    assert [problem.where for problem in problems] == [
        "here: row 1",
        "here",
        "here: row 3",
        "here",
    ]
    assert whats(problems)[::3] == [
        "column subject_id is null",
        "row 2 labels a subject and prediction time twice",
    ]
    assert_first_is_raised(problems, checked_keys, table, "here", None)
    assert whats(key_problems(table.select(other=1), "here", None)) == [
        "lacks column subject_id",
        "lacks column prediction_time",
    ]


def test_every_wrong_value_column_of_a_label_is_found():
    table = pl.DataFrame(
        {
            "subject_id": [1],
            "prediction_time": [NOON],
            "boolean_value": ["yes"],
            "categorical_value": [""],
        }
    )
    columns = {"float_value": pl.Float32, "boolean_value": pl.Boolean} | {
        "categorical_value": pl.String
    }
    problems = list(value_problems(table, Path("here"), columns))
    assert [what.partition(",")[0] for what in whats(problems)] == [
        "lacks column float_value",
        "column boolean_value is String",
        "column categorical_value is empty text",
    ]
    assert_first_is_raised(problems, label_values, table, Path("here"), columns)


def test_every_fault_of_a_subject_table_is_found(tmp_path):
    path = tmp_path / "groups.parquet"
    table = pl.DataFrame({"subject_id": pl.Series([1, 2**63, 1], dtype=pl.UInt64)})
    table.write_parquet(path)
    problems = list(table_problems(table, path, ["site", "ward"]))
    assert whats(problems) == [
        "lacks column site",
        "lacks column ward",
        "column subject_id has a number that int64 cannot hold",
        "row 0 has a subject with another row",
    ]
    assert_first_is_raised(problems, read_subject_table, path, "site", "ward")


def test_every_fault_of_splits_is_found(tmp_path):
    people = People(np.array([1, 2, 2, 3, 4]), tmp_path)
    path = tmp_path / "metadata/subject_splits.parquet"
    write_subject_table(tmp_path / LINKED_FILE, "unit", {1: 7, 3: 7})
    write_subject_table(path, "split", {1: "train", 2: "test", 3: "tuning"})
    splits = pl.Series("split", ["train", "test", "test", "tuning", None])
    problems = list(split_problems(path, pl.read_parquet(path), splits, people))
    assert [what.partition(":")[0] for what in whats(problems)] == [
        "column split is none of train, tuning, held_out",
        "1 subjects with samples have no split",
        "parts linked subjects",
    ]
    assert_first_is_raised(problems, subject_splits, people, Splits())


def test_every_unknown_group_is_found():
    people = People(np.array([1, 2]), Path("/nowhere"))
    sites = pl.Series("site", ["north", "south"])
    assert whats(group_problems(sites, people, ["north", "east", "west"])) == [
        "no subject is in site 'east'",
        "no subject is in site 'west'",
    ]
