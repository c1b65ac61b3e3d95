"""Binary: reading, class weights and prediction columns."""

import numpy as np
import polars as pl
import pytest
import torch

from clintune.core.errors import DataError
from clintune.tasks.binary import Binary
from helpers.label_files import write_labels


def test_labels_become_zeros_and_ones_and_null_is_unknown(tmp_path):
    write_labels(tmp_path / "labels" / "icu.parquet", [True, None, False])
    table = Binary(label="icu").read(tmp_path)
    assert table.schema == {
        "subject_id": pl.Int64,
        "prediction_time": pl.Datetime("us"),
        "target": pl.List(pl.Float32),
    }
    np.testing.assert_array_equal(np.array(table["target"].to_list()), [[1], [np.nan], [0]])


def test_a_folder_of_shards_is_read_as_one_label(tmp_path):
    write_labels(tmp_path / "labels" / "icu" / "train" / "0.parquet", [True, False])
    write_labels(tmp_path / "labels" / "icu" / "held_out" / "0.parquet", [True], subjects=[9])
    assert sorted(Binary(label="icu").read(tmp_path)["subject_id"]) == [0, 1, 9]


def test_a_cohort_without_the_label_has_none(tmp_path):
    assert Binary(label="icu").read(tmp_path) is None


def broken_type(root):
    write_labels(root / "labels" / "icu.parquet", [1.0, 0.0])


def lacking_column(root):
    write_labels(root / "labels" / "icu.parquet", ["a"], column="categorical_value")


def doubled_row(root):
    write_labels(root / "labels" / "icu.parquet", [True, False], subjects=[4, 4])


def doubled_over_shards(root):
    write_labels(root / "labels" / "icu" / "a.parquet", [True])
    write_labels(root / "labels" / "icu" / "b.parquet", [False])


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (broken_type, "column boolean_value is Float64; write it as Boolean"),
        (lacking_column, "lacks column boolean_value"),
        (doubled_row, "row 0 labels a subject"),
        (doubled_over_shards, "two files label the same"),
    ],
)
def test_broken_label_files_are_named_with_the_remedy(tmp_path, damage, words):
    damage(tmp_path)
    with pytest.raises(DataError, match=words) as error:
        Binary(label="icu").read(tmp_path)
    assert str(tmp_path) in str(error.value)
    assert "\n" not in str(error.value)


def test_balanced_classes_weigh_the_same_and_one_on_average():
    targets = np.array([[1.0], [0], [0], [0], [np.nan]], np.float32)
    task = Binary(label="icu", class_weight="balanced")
    task.fit(targets)
    assert task.state() == {"class_weights": [4 / 6, 2.0]}
    plain = torch.nn.functional.binary_cross_entropy_with_logits
    outputs = torch.tensor([[0.3], [-1.0], [2.0], [0.1], [5.0]])
    losses = plain(outputs[:4], torch.tensor(targets[:4]), reduction="none")[:, 0]
    total, count = task.loss(outputs, torch.tensor(targets))
    assert count == 4
    torch.testing.assert_close(total, 2 * losses[0] + 4 / 6 * losses[1:].sum())


def test_balance_needs_both_classes():
    with pytest.raises(DataError, match="no positive label"):
        Binary(label="icu", class_weight="balanced").fit(np.zeros((3, 1), np.float32))


def test_prediction_columns_hold_probability_and_decision():
    table = Binary(label="icu").prediction_table(np.array([[0.5], [0.25]], np.float32))
    assert {name: list(column) for name, column in table.items()} == {
        "predicted_boolean_value": [True, False],
        "predicted_boolean_probability": [0.5, 0.25],
    }
