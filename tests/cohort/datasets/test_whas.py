import numpy as np
import polars as pl
import pytest

from clintune.cohort.datasets import whas
from clintune.cohort.datasets.whas import import_whas
from clintune.core.errors import DataError


def write_raw(raw, features=6, people=(12, 6)):
    h5py = pytest.importorskip("h5py")
    raw.mkdir(parents=True)
    draw = np.random.default_rng(0)
    with h5py.File(raw / "deepsurv_whas.h5", "w") as file:
        for part, number in zip(("train", "test"), people, strict=True):
            x = draw.integers(0, 2, (number, features)).astype(np.float32)
            x[:, 1] = np.arange(number) + (40.5 if part == "train" else 70.5)
            file[f"{part}/x"], file[f"{part}/t"] = x, np.arange(number, dtype=np.float32)
            file[f"{part}/e"] = np.arange(number, dtype=np.int32) % 2
        # The first person of the test part is one of training.
        # The second shares the facts of one alone.
        file["test/x"][:2] = file["train/x"][:2]
        file["test/t"][1] = 99
    return raw


def test_people_of_both_parts_stand_once_and_twins_are_linked(tmp_path, capsys):
    import_whas(tmp_path / "cohort", write_raw(tmp_path / "raw"))
    events = pl.read_parquet(tmp_path / "cohort/data/0.parquet")
    assert events["subject_id"].n_unique() == 17
    assert "1 of 18 rows repeat a person and are left out" in capsys.readouterr().err
    assert events.filter(subject_id=2, code="FEATURE_1")["numeric_value"].to_list() == [41.5]
    assert {"FEATURE_0//0", "FEATURE_5//1"} <= set(events["code"])
    labels = pl.read_parquet(tmp_path / "cohort/labels/survival.parquet")
    assert labels.row(1)[2:] == (1.0, True)
    linked = pl.read_parquet(tmp_path / "cohort/metadata/linked_subjects.parquet")
    assert linked.rows() == [(2, 2), (13, 2)]


def test_a_file_of_another_layout_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"deepsurv_whas\.h5: does not hold 6 features"):
        import_whas(tmp_path / "cohort", write_raw(tmp_path / "raw", features=5))
    (tmp_path / "raw/deepsurv_whas.h5").write_bytes(b"no HDF5")
    with pytest.raises(DataError, match=r"deepsurv_whas\.h5: cannot be read \(OSError\)"):
        import_whas(tmp_path / "cohort", tmp_path / "raw")


def test_what_is_missing_is_named_file_or_package(tmp_path, monkeypatch):
    with pytest.raises(
        DataError, match=r"deepsurv_whas\.h5: is missing; download the data set from https://"
    ):
        import_whas(tmp_path / "cohort", tmp_path)
    (tmp_path / "deepsurv_whas.h5").touch()
    monkeypatch.setattr(whas, "is_installed", lambda module: False)
    with pytest.raises(DataError, match=r"is an HDF5 file, which h5py reads; pip install h5py"):
        import_whas(tmp_path / "cohort", tmp_path)


def test_the_real_data_have_the_published_counts(tmp_path, real_data):
    pytest.importorskip("h5py")
    import_whas(tmp_path / "cohort", real_data / "survival_classics")
    labels = pl.read_parquet(tmp_path / "cohort/labels/survival.parquet")
    assert (len(labels), labels["boolean_value"].sum()) == (735, 451)
    linked = pl.read_parquet(tmp_path / "cohort/metadata/linked_subjects.parquet")
    assert len(labels) - len(linked) + linked["unit"].n_unique() == 732
