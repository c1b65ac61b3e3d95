from datetime import datetime

import numpy as np
import polars as pl
import pytest

from clintune.cohort.datasets.metabric import _CLASSES, _NUMBERS, import_metabric
from clintune.core.errors import DataError

HEADER = [*_NUMBERS, *(name for name, number in _CLASSES.items() for _ in range(number))]
NUM_PEOPLE = 30


def write_raw(raw, rows=None, header=HEADER, labels=None):
    """Write 30 people: the 4th and the last share a row, the 2nd has a column's mean as stage."""
    raw.mkdir(parents=True)
    if rows is None:
        draw = np.random.default_rng(0)
        rows = [
            [f"{40 + person}.5", *draw.integers(0, 9, 5).astype(str)]
            for person in range(NUM_PEOPLE)
        ]
        for row in rows:
            for number in _CLASSES.values():
                row += np.eye(number, dtype=int)[draw.integers(number)].astype(str).tolist()
        rows[1][HEADER.index("stage")] = "1.1903520209"
        rows[-1] = rows[3]
    labels = labels or [f"{100 + person} ,{person % 2} " for person in range(NUM_PEOPLE)]
    (raw / "cleaned_features_final.csv").write_text(
        "\n".join([",".join(header), *map(",".join, rows)])
    )
    (raw / "label.csv").write_text("\n".join(["event_time,label", *labels]))
    return rows


def test_each_person_has_facts_and_a_label_of_days_and_event(tmp_path):
    rows = write_raw(tmp_path / "raw")
    import_metabric(tmp_path / "cohort", tmp_path / "raw")
    events = pl.read_parquet(tmp_path / "cohort/data/0.parquet")
    assert events["time"].null_count() == len(events)
    first = events.filter(subject_id=1)
    assert first.filter(code="AGE")["numeric_value"].to_list() == [40.5]
    start = HEADER.index("histological")
    chosen = rows[0][start : start + 12].index("1") + 1
    assert f"HISTOLOGICAL//{chosen}" in first["code"].to_list()
    assert len(first) == len(_NUMBERS) + len(_CLASSES)

    labels = pl.read_parquet(tmp_path / "cohort/labels/survival.parquet")
    assert labels.columns == ["subject_id", "prediction_time", "float_value", "boolean_value"]
    assert labels.row(1) == (2, datetime(2000, 1, 1), 101.0, True)
    assert labels["boolean_value"].sum() == NUM_PEOPLE / 2


def test_a_mean_that_stands_for_a_gap_is_absent(tmp_path):
    write_raw(tmp_path / "raw")
    import_metabric(tmp_path / "cohort", tmp_path / "raw")
    stages = pl.read_parquet(tmp_path / "cohort/data/0.parquet").filter(code="STAGE")
    assert stages["subject_id"].to_list() == [1, *range(3, NUM_PEOPLE + 1)]


def test_people_with_the_same_row_are_linked_and_share_a_fold(tmp_path):
    write_raw(tmp_path / "raw")
    import_metabric(tmp_path / "cohort", tmp_path / "raw")
    linked = pl.read_parquet(tmp_path / "cohort/metadata/linked_subjects.parquet")
    assert linked.rows() == [(4, 4), (NUM_PEOPLE, 4)]
    folds = dict(pl.read_parquet(tmp_path / "cohort/metadata/folds.parquet").iter_rows())
    assert folds[4] == folds[NUM_PEOPLE]
    assert set(folds.values()) == set(range(5))


def spoilt(row, column, value):
    def spoil(rows):
        rows[row][HEADER.index(column)] = value
        return rows

    return spoil


@pytest.mark.parametrize(
    ("spoil", "header", "labels", "message"),
    [
        (spoilt(2, "NPI", "high"), HEADER, None, r"final\.csv: row 2: column NPI is not a number"),
        (
            spoilt(5, "site", "2"),
            HEADER,
            None,
            r"final\.csv: row 5: column site holds no value of the data set",
        ),
        (lambda rows: rows, HEADER[:-1], None, r"final\.csv: lacks column Genefu_duplicated_2"),
        (
            lambda rows: rows,
            HEADER,
            ["1,0"],
            r"label\.csv: has 1 rows, cleaned_features_final\.csv 30",
        ),
        (
            lambda rows: rows,
            HEADER,
            [f",{n % 2}" for n in range(30)],
            "row 0: column event_time is empty",
        ),
        (
            lambda rows: rows,
            HEADER,
            [f"9,{n}" for n in range(30)],
            "row 2: column label holds no value",
        ),
    ],
)
def test_bad_input_is_answered_with_file_row_and_column(tmp_path, spoil, header, labels, message):
    rows = spoil(write_raw(tmp_path / "good"))
    write_raw(tmp_path / "raw", rows, header, labels)
    with pytest.raises(DataError, match=message) as caught:
        import_metabric(tmp_path / "cohort", tmp_path / "raw")
    assert "\n" not in str(caught.value)


def test_two_classes_of_one_column_are_refused(tmp_path):
    rows = write_raw(tmp_path / "good")
    start = HEADER.index("grade")
    rows[7][start : start + 2] = ["1", "1"]
    write_raw(tmp_path / "raw", rows)
    with pytest.raises(DataError, match="row 7: column grade has two classes"):
        import_metabric(tmp_path / "cohort", tmp_path / "raw")


def test_the_real_data_have_the_published_counts(tmp_path, real_data):
    import_metabric(tmp_path / "cohort", real_data / "metabric")
    labels = pl.read_parquet(tmp_path / "cohort/labels/survival.parquet")
    assert (len(labels), labels["boolean_value"].sum()) == (1981, 888)
    linked = pl.read_parquet(tmp_path / "cohort/metadata/linked_subjects.parquet")
    assert (len(linked), linked["unit"].n_unique()) == (68, 1)
    assert (
        len(pl.read_parquet(tmp_path / "cohort/data/0.parquet").filter(code="STAGE")) == 1981 - 447
    )
