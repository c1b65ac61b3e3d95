"""Multiclass: numbering classes."""

import numpy as np
import pytest

from clintune.core.errors import DataError
from clintune.tasks.multiclass import Multiclass
from helpers.label_files import write_labels


def test_classes_are_numbered_in_order_and_null_is_unknown(tmp_path):
    write_labels(tmp_path / "labels/kind.parquet", ["b", "a", None, "b"], "categorical_value")
    task = Multiclass(label="kind")
    table = task.read(tmp_path)
    assert task.output_names == ["a", "b"]
    np.testing.assert_array_equal(table["target"].to_list(), [[1], [0], [np.nan], [1]])


def test_given_classes_keep_their_order_even_without_a_sample(tmp_path):
    write_labels(tmp_path / "labels/kind.parquet", ["a"], "categorical_value")
    task = Multiclass(label="kind", classes=["c", "a", "b"])
    assert task.read(tmp_path)["target"].to_list() == [[1]]
    assert task.num_outputs == 3


def test_a_foreign_class_is_named_by_row_and_not_by_its_text(tmp_path):
    write_labels(tmp_path / "labels/kind.parquet", ["a", "secret"], "categorical_value")
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
