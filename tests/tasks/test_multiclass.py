"""Multiclass: numbering classes."""

from datetime import datetime

import numpy as np
import polars as pl
import pytest

from clintune.core.errors import DataError
from clintune.tasks.multiclass import Multiclass


def write(root, values):
    path = root / "labels" / "kind.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    times = [datetime(2020, 1, 1)] * len(values)
    table = {
        "subject_id": range(len(values)),
        "prediction_time": times,
        "categorical_value": values,
    }
    pl.DataFrame(table, schema_overrides={"categorical_value": pl.String}).write_parquet(path)


def test_classes_are_numbered_in_order_and_null_is_unknown(tmp_path):
    write(tmp_path, ["b", "a", None, "b"])
    task = Multiclass(label="kind")
    table = task.read(tmp_path)
    assert task.output_names == ["a", "b"]
    np.testing.assert_array_equal(table["target"].to_list(), [[1], [0], [np.nan], [1]])


def test_given_classes_keep_their_order_even_without_a_sample(tmp_path):
    write(tmp_path, ["a"])
    task = Multiclass(label="kind", classes=["c", "a", "b"])
    assert task.read(tmp_path)["target"].to_list() == [[1]]
    assert task.num_outputs == 3


def test_a_foreign_class_is_named_by_row_and_not_by_its_text(tmp_path):
    write(tmp_path, ["a", "secret"])
    with pytest.raises(DataError, match="row 1 of column categorical_value") as error:
        Multiclass(label="kind", classes=["a"]).read(tmp_path)
    assert "secret" not in str(error.value)


def test_prediction_columns_hold_likeliest_class_and_chances():
    task = Multiclass(label="kind", classes=["a", "b"])
    table = task.prediction_table(np.array([[0.25, 0.75]], np.float32))
    assert {name: list(column) for name, column in table.items()} == {
        "predicted_categorical_value": ["b"],
        "predicted_probability_a": [0.25],
        "predicted_probability_b": [0.75],
    }
