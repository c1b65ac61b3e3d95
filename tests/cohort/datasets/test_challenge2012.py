from datetime import datetime

import polars as pl
import pytest

from clintune.cohort.datasets.challenge2012 import import_challenge2012
from clintune.core.errors import DataError

FACTS = [("Age", 54), ("Gender", 1), ("Height", -1), ("ICUType", 4), ("Weight", 80.5)]
MEASURED = [
    (0, "Weight", 81),
    (7, "HR", 73),
    (7, "GCS", 15),
    (61, "NIDiasABP", -1),
    (2880, "HR", 90),
]
OUTCOMES = {
    "a": ["1,6,1,9,-1,0", "2,16,8,8,4,1"],
    "b": ["3,6,1,-1,-1,0"],
    "c": ["4,6,1,1,-1,0", "5,2,2,2,-1,0"],
}
HEADER = "RecordID,SAPS-I,SOFA,Length_of_stay,Survival,In-hospital_death"


def stays(name):
    return [int(row.split(",")[0]) for row in OUTCOMES[name]]


def write_parquet(raw, measured=MEASURED, outcomes=OUTCOMES):
    raw.mkdir()
    for name in "abc":
        rows = [(stay, 0, fact, value) for stay in stays(name) for fact, value in FACTS]
        rows += [(stay, *row) for stay in stays(name) if stay != 5 for row in measured]
        rows += [(stay, 30, "", 1.9) for stay in stays(name) if name == "c"]
        schema = {
            "RecordID": pl.Int32,
            "minute": pl.Int16,
            "parameter": pl.String,
            "value": pl.Float32,
        }
        pl.DataFrame(rows, schema=schema, orient="row").write_parquet(raw / f"set-{name}.parquet")
    lines = [f"{name},{row}" for name, rows in outcomes.items() for row in rows]
    (raw / "outcomes.csv").write_text("\n".join([f"set,{HEADER}", *lines]))
    return raw


def write_text(raw, measured=MEASURED):
    raw.mkdir()
    for name in "abc":
        (raw / f"set-{name}").mkdir()
        (raw / f"Outcomes-{name}.txt").write_text("\n".join([HEADER, *OUTCOMES[name]]))
        for stay in stays(name):
            rows = [
                (0, "RecordID", stay),
                *((0, *fact) for fact in FACTS),
                *(measured if stay != 5 else []),
            ]
            rows += [(30, "", 1.9)] if name == "c" else []
            lines = [
                f"{minute // 60:02d}:{minute % 60:02d},{what},{value}"
                for minute, what, value in rows
            ]
            (raw / f"set-{name}" / f"{stay}.txt").write_text(
                "\n".join(["Time,Parameter,Value", *lines])
            )
    return raw


def events_of(root):
    return pl.concat(pl.read_parquet(path) for path in sorted((root / "data").glob("*.parquet")))


def test_facts_have_no_time_and_measurements_their_minute(tmp_path):
    import_challenge2012(tmp_path / "cohort", write_parquet(tmp_path / "raw"))
    events = events_of(tmp_path / "cohort").filter(subject_id=1)
    assert events.select("time", "code", "numeric_value").rows() == [
        (None, "AGE", 54.0),
        (None, "WEIGHT", 80.5),
        (None, "GENDER//M", None),
        (None, "ICUTYPE//SURGICAL", None),
        (datetime(2000, 1, 1), "MEASURED//Weight", 81.0),
        (datetime(2000, 1, 1, 0, 7), "MEASURED//HR", 73.0),
        (datetime(2000, 1, 1, 0, 7), "MEASURED//GCS", 15.0),
        (datetime(2000, 1, 3), "MEASURED//HR", 90.0),
    ]


def test_what_is_not_recorded_is_left_out_and_counted(tmp_path, capsys):
    import_challenge2012(tmp_path / "cohort", write_parquet(tmp_path / "raw"))
    events = events_of(tmp_path / "cohort")
    assert (events["numeric_value"] >= 0).all()
    assert not events["code"].str.contains("HEIGHT|NIDiasABP|//$").any()
    assert "2 rows without a name of what was measured are left out" in capsys.readouterr().err
    # A stay without any measurement keeps its facts.
    assert events.filter(subject_id=5)["time"].null_count() == 4


def test_labels_stand_at_48_hours_and_know_no_length_of_some(tmp_path):
    import_challenge2012(tmp_path / "cohort", write_parquet(tmp_path / "raw"))
    deaths = pl.read_parquet(tmp_path / "cohort/labels/mortality.parquet")
    assert set(deaths["prediction_time"]) == {datetime(2000, 1, 3)}
    assert deaths["boolean_value"].to_list() == [False, True, False, False, False]
    days = pl.read_parquet(tmp_path / "cohort/labels/length_of_stay.parquet")
    assert days["float_value"].to_list() == [7.0, None, None, None, 0.0]
    assert days["subject_id"].to_list() == [1, 2, 3, 4, 5]


def test_the_official_sets_are_splits_and_groups(tmp_path):
    import_challenge2012(tmp_path / "cohort", write_parquet(tmp_path / "raw"))
    splits = pl.read_parquet(tmp_path / "cohort/metadata/subject_splits.parquet")
    assert splits["split"].to_list() == ["train", "train", "held_out", "held_out", "held_out"]
    groups = pl.read_parquet(tmp_path / "cohort/metadata/groups.parquet")
    assert groups["set"].to_list() == ["a", "a", "b", "c", "c"]


def test_the_text_files_of_the_challenge_read_as_the_tables_do(tmp_path):
    import_challenge2012(tmp_path / "tables", write_parquet(tmp_path / "parquet"))
    import_challenge2012(tmp_path / "texts", write_text(tmp_path / "text"))
    assert events_of(tmp_path / "texts").equals(events_of(tmp_path / "tables"))
    for label in ("mortality", "length_of_stay"):
        table, text = (
            pl.read_parquet(tmp_path / kind / f"labels/{label}.parquet")
            for kind in ("tables", "texts")
        )
        assert text.equals(table)


@pytest.mark.parametrize(
    ("measured", "message"),
    [
        ([(5, "HR", "fast")], r"set-a/1\.txt: column Value cannot be read"),
        ([(5, "Gender", 7), (0, "HR", 7)], None),
    ],
)
def test_bad_measurements_are_answered_with_the_file(tmp_path, measured, message):
    raw = write_text(tmp_path / "raw", measured)
    if message is None:  # a descriptor that is charted later is a measurement
        import_challenge2012(tmp_path / "cohort", raw)
        assert "MEASURED//Gender" in set(events_of(tmp_path / "cohort")["code"])
        return
    with pytest.raises(DataError, match=message) as caught:
        import_challenge2012(tmp_path / "cohort", raw)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("outcomes", "message"),
    [
        ({**OUTCOMES, "c": []}, "2 stays have no row among the outcomes"),
        (
            {**OUTCOMES, "b": ["3,6,1,long,-1,0"]},
            r"outcomes\.csv: row 2: column Length_of_stay is not a number",
        ),
        (
            {**OUTCOMES, "b": ["3,6,1,4,-1,9"]},
            "row 2: column In-hospital_death holds no value of the data set",
        ),
    ],
)
def test_bad_outcomes_are_answered_with_file_row_and_column(tmp_path, outcomes, message):
    with pytest.raises(DataError, match=message) as caught:
        import_challenge2012(
            tmp_path / "cohort", write_parquet(tmp_path / "raw", outcomes=outcomes)
        )
    assert "\n" not in str(caught.value)


def test_a_set_that_is_missing_or_empty_is_named(tmp_path):
    with pytest.raises(DataError, match=r"set-a: is missing; download the data set from https://"):
        import_challenge2012(tmp_path / "cohort", tmp_path)
    (tmp_path / "set-a").mkdir()
    with pytest.raises(DataError, match=r"set-a: holds no \.txt file"):
        import_challenge2012(tmp_path / "cohort", tmp_path)
    (tmp_path / "set-a.parquet").write_bytes(b"no parquet")
    with pytest.raises(DataError, match=r"set-a\.parquet: cannot be read"):
        import_challenge2012(tmp_path / "cohort", tmp_path)


def test_the_real_data_have_the_published_counts(tmp_path, real_data):
    import_challenge2012(tmp_path / "cohort", real_data / "challenge2012")
    deaths = pl.read_parquet(tmp_path / "cohort/labels/mortality.parquet")
    deaths = deaths.join(
        pl.read_parquet(tmp_path / "cohort/metadata/groups.parquet"), on="subject_id"
    )
    died = deaths.group_by("set").agg(pl.len(), pl.col("boolean_value").sum()).sort("set")
    assert died.rows() == [("a", 4000, 554), ("b", 4000, 568), ("c", 4000, 585)]
    days = pl.read_parquet(tmp_path / "cohort/labels/length_of_stay.parquet")
    assert days["float_value"].null_count() == 1707 + 167 + 4
    assert len(events_of(tmp_path / "cohort")) == 5_264_452
