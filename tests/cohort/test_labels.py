"""Label files: where they are looked for, and on which clock they stand."""

from datetime import datetime

import polars as pl
import pytest

from clintune.cohort.labels import label_files, looked_for, read_labels
from clintune.cohort.shards import data_files
from clintune.core.errors import ClintuneError, ConfigError, DataError
from clintune.tasks.binary import Binary
from clintune.tasks.multiclass import Multiclass
from clintune.tasks.multilabel import Multilabel
from helpers.cohort_samples import write_shard
from helpers.label_files import write_labels


@pytest.mark.parametrize("folder", ["labels", "task_labels"])
@pytest.mark.parametrize(
    "label", ["icu", "mortality/icu", "mortality/in_icu/first_24h", "out[24h]", "a*", "v1.5"]
)
def test_labels_are_found_under_any_name_in_both_folders(tmp_path, folder, label):
    write_labels(tmp_path / folder / f"{label}.parquet")
    write_labels(tmp_path / folder / "out2.parquet", [True] * 3)
    write_labels(tmp_path / folder / "ab.parquet", [True] * 3)
    assert len(Binary(label=label).read(tmp_path)) == 2
    (tmp_path / folder / f"{label}.parquet").unlink()
    write_labels(tmp_path / folder / label / "train/0.parquet", [True] * 4)
    assert len(Binary(label=label).read(tmp_path)) == 4
    assert f"{folder}/{label}.parquet, {folder}/{label}/*.parquet" in looked_for(tmp_path, label)


def test_a_label_in_both_folders_is_refused(tmp_path):
    write_labels(tmp_path / "labels/icu.parquet")
    write_labels(tmp_path / "task_labels/icu/0.parquet")
    with pytest.raises(
        DataError,
        match=r"icu stands in labels/icu\.parquet and in task_labels/icu/0\.parquet; keep",
    ):
        label_files(tmp_path, "icu")


def test_a_label_that_is_a_file_and_a_folder_is_refused(tmp_path):
    write_labels(tmp_path / "labels/icu.parquet")
    write_labels(tmp_path / "labels/icu/0.parquet", [True] * 100)
    with pytest.raises(
        DataError, match=r"icu stands in labels/icu\.parquet and in labels/icu/0\.parquet; keep one"
    ):
        label_files(tmp_path, "icu")


@pytest.mark.parametrize("name", ["1.pq", "1.PARQUET", "1.csv", "sub/1.csv.gz", "1.feather"])
@pytest.mark.parametrize("folder", ["data", "labels/icu"])
def test_a_table_that_would_be_passed_over_is_named(tmp_path, folder, name):
    write_labels(tmp_path / folder / "0.parquet")
    write_labels(tmp_path / folder / name)
    with pytest.raises(
        DataError,
        match=rf"{folder}/{name}: is not read, as its name does not end in \.parquet; write",
    ):
        label_files(tmp_path, "icu") if folder != "data" else data_files(tmp_path)


@pytest.mark.parametrize(
    "label", ["../out", "/etc/passwd", "a/../../out", "a//b", "", " ", "a\x1b[0m", "..", "a\\b"]
)
def test_a_label_that_leaves_the_cohort_is_refused(tmp_path, label):
    write_labels(tmp_path / "out.parquet")
    for task in (Binary(label=label), Multilabel(label=label)):
        with pytest.raises(ConfigError, match="label: '") as error:
            task.read(tmp_path / "cohort")
        assert "\x1b" not in str(error.value)


def test_a_label_is_named_without_its_ending(tmp_path):
    with pytest.raises(ConfigError, match=r"label: 'icu\.parquet' ends in \.parquet; name"):
        label_files(tmp_path, "icu.parquet")


def test_many_phenotypes_need_a_folder_in_either_place(tmp_path):
    write_labels(tmp_path / "task_labels/pheno/aki.parquet")
    task = Multilabel(label="pheno")
    assert len(task.read(tmp_path)) == 2
    assert task.output_names == ["aki"]
    write_labels(tmp_path / "labels/one.parquet")
    with pytest.raises(DataError, match=r"labels/one\.parquet: is one file, while .* folder one/"):
        Multilabel(label="one").read(tmp_path)


@pytest.mark.parametrize("values", [pl.Categorical, pl.Enum(["a", "b"]), pl.String])
def test_classes_may_be_stored_as_categories(tmp_path, values):
    write_labels(
        tmp_path / "labels/ward.parquet",
        pl.Series(["b", "a", None]).cast(values),
        "categorical_value",
    )
    task = Multiclass(label="ward")
    assert task.read(tmp_path)["target"].to_list()[:2] == [[1.0], [0.0]]
    assert task.output_names == ["a", "b"]


@pytest.mark.parametrize("text", ["", "  "])
def test_an_empty_class_is_refused(tmp_path, text):
    write_labels(tmp_path / "labels/ward.parquet", ["a", text], "categorical_value")
    with pytest.raises(
        DataError, match=r"row 1: column categorical_value is empty text; write null for an unknown"
    ):
        Multiclass(label="ward").read(tmp_path)


@pytest.mark.parametrize("kind", [pl.String, pl.Null])
def test_unknown_classes_are_left_to_another_cohort(tmp_path, kind):
    write_labels(
        tmp_path / "labels/ward.parquet", pl.Series([None, None], dtype=kind), "categorical_value"
    )
    write_labels(tmp_path / "other/labels/ward.parquet", ["a", "b"], "categorical_value")
    task = Multiclass(label="ward")
    assert task.read(tmp_path)["target"].list.first().is_nan().all()
    task.read(tmp_path / "other")
    assert task.output_names == ["a", "b"]


def zoned_data(root, *zones):
    for number, zone in enumerate(zones):
        path = root / f"data/{number}.parquet"
        write_shard(path, [(number, 0, "a", 1.0)])
        table = pl.read_parquet(path, glob=False)
        table.with_columns(pl.col("time").dt.replace_time_zone(zone)).write_parquet(path)


@pytest.mark.parametrize(
    ("events", "labels", "words"),
    [
        ("Europe/Berlin", None, "has no time zone, while column time of data/0.parquet has one"),
        ("UTC", None, "has no time zone, while column time of data/0.parquet has one"),
        (None, "UTC", "has a time zone, while column time of data/0.parquet has none"),
        (None, "America/New_York", "has a time zone, while column time of data/0.parquet has none"),
    ],
)
def test_labels_and_events_are_of_one_kind_of_clock(tmp_path, events, labels, words):
    zoned_data(tmp_path, events)
    for name in ("y.parquet", "pheno/a.parquet"):
        write_labels(tmp_path / "labels" / name, [True], zone=labels)
    for task in (Binary(label="y"), Multilabel(label="pheno")):
        with pytest.raises(
            DataError, match=rf"labels/.*parquet: column prediction_time {words}; write all times"
        ):
            task.read(tmp_path)


def test_two_zones_are_compared_in_utc(tmp_path):
    zoned_data(tmp_path, "Europe/Berlin")
    write_labels(tmp_path / "labels/y.parquet", [True], zone="America/New_York")
    assert Binary(label="y").read(tmp_path)["prediction_time"].to_list() == [
        datetime(2020, 1, 1, 13)
    ]


def test_a_file_that_makes_polars_give_up_is_one_line(tmp_path):
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels/y.parquet").write_bytes(b"PAR1" + b"\xff" * 40 + b"\x10\x00\x00\x00PAR1")
    with pytest.raises(ClintuneError, match=r"y\.parquet: not a readable Parquet file"):
        read_labels(tmp_path, "y", {"boolean_value": pl.Boolean})


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"float_value": pl.Series([3, None], dtype=pl.Int64)}, [3, None]),
        ({"integer_value": [3, None]}, [3, None]),
        (
            {"integer_value": [3, 4], "float_value": pl.Series([None, None], dtype=pl.Float32)},
            [3, 4],
        ),
        ({"integer_value": [3, 4], "float_value": [1.5, None]}, [1.5, None]),
    ],
)
def test_whole_numbers_are_values(tmp_path, columns, expected):
    zoned_data(tmp_path, None)
    keys = {"subject_id": [1, 2], "prediction_time": [datetime(2020, 1, 1, 8)] * 2}
    (tmp_path / "labels").mkdir()
    pl.DataFrame(keys | columns).write_parquet(tmp_path / "labels/y.parquet")
    table = read_labels(tmp_path, "y", {"float_value": pl.Float32})
    assert table["float_value"].dtype == pl.Float32
    assert table["float_value"].to_list() == expected
