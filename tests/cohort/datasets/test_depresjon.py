from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest

from clintune.cohort.datasets.depresjon import import_depresjon
from clintune.core.errors import DataError
from clintune.modalities.signals import read_signal

SCORES = b"name,days,gender,age,edu\ncondition_1,3,2,35-39,6-10\ncontrol_1,4,1,20-24,\xff\n"
DAY = timedelta(days=1)


def write_recording(path, first, minutes, style, skip=()):
    """Write minutes of a recording whose count is the minute of the day."""
    lines = ["timestamp,date,activity,,"]
    for minute in range(minutes):
        if minute not in skip:
            when = first + timedelta(minutes=minute)
            file_signature = (
                f"{when:%Y-%m-%d %H:%M:%S}"
                if style == "iso"
                else f"{when.day}/{when.month}/{when:%Y %H:%M}"
            )
            lines.append(f"{file_signature},,{when.hour * 60 + when.minute},,")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines))


def write_raw(raw, scores=SCORES, skip=()):
    (raw / "scores").mkdir(parents=True)
    (raw / "scores/scores.csv").write_bytes(scores)
    write_recording(raw / "condition/condition_1.csv", datetime(2003, 5, 7, 12), 5 * 1440, "iso")
    write_recording(
        raw / "control/control_1.csv", datetime(2003, 3, 7, 15), 6 * 1440, "day first", skip
    )
    return raw


def signals(root):
    return {
        path.name: read_signal(path, path.name) for path in sorted((root / "signals").glob("*.npz"))
    }


def test_each_window_is_whole_days_from_midnight(tmp_path):
    import_depresjon(tmp_path / "cohort", write_raw(tmp_path / "raw"), window_days=2)
    found = signals(tmp_path / "cohort")
    # Official days 3 and 4: one window and two; the rest of the recordings is left alone.
    assert list(found) == ["001_0.npz", "002_0.npz", "002_1.npz"]
    for signal in found.values():
        np.testing.assert_array_equal(signal.values[0], np.tile(np.arange(1440), 2))
        assert (signal.rate_hz, signal.channels) == (1 / 60, ["activity"])
        assert (signal.start.hour, signal.start.minute) == (0, 0)


def test_neither_season_nor_length_can_be_read_from_a_sample(tmp_path):
    import_depresjon(tmp_path / "cohort", write_raw(tmp_path / "raw"), window_days=2)
    assert {signal.values.shape for signal in signals(tmp_path / "cohort").values()} == {(1, 2880)}
    labels = pl.read_parquet(tmp_path / "cohort/labels/depression.parquet")
    assert labels.rows() == [
        (1, datetime(2000, 1, 3), True),
        (2, datetime(2000, 1, 3), False),
        (2, datetime(2000, 1, 5), False),
    ]
    events = pl.read_parquet(tmp_path / "cohort/data/0.parquet")
    assert (
        events.filter(pl.col("code") == "ACTIGRAPHY")["time"].to_list()
        == labels["prediction_time"].to_list()
    )
    facts = events.filter(pl.col("time").is_null())
    assert facts.select("subject_id", "code", "numeric_value").rows() == [
        (1, "SEX//M", None), (1, "AGE", 37.0), (2, "SEX//F", None), (2, "AGE", 22.0),
    ]  # fmt: skip


def test_a_window_with_a_gap_is_left_out(tmp_path):
    # The second day after the first midnight lacks an hour, as where clocks change.
    skip = range(9 * 60 + 1440 + 120, 9 * 60 + 1440 + 180)
    import_depresjon(tmp_path / "cohort", write_raw(tmp_path / "raw", skip=skip), window_days=2)
    assert list(signals(tmp_path / "cohort")) == ["001_0.npz", "002_1.npz"]


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (SCORES.replace(b"35-39", b"old"), "row 0: column age"),
        (SCORES.replace(b",1,20", b",9,20"), "row 1: column gender"),
        (SCORES.replace(b"control_1", b"someone"), "row 1: column name"),
        (SCORES.replace(b",3,", b",many,"), "row 0: column days is not a number"),
        (SCORES.replace(b"condition_1,3", b"condition_1,1"), "has no whole window of 2 days"),
        (SCORES.replace(b"condition_1", b"condition_2"), r"condition_2\.csv: is missing"),
        (SCORES.replace(b"days", b"weeks"), r"scores\.csv: lacks column days"),
    ],
)
def test_bad_scores_are_answered_with_file_row_and_column(tmp_path, scores, message):
    with pytest.raises(DataError, match=message) as caught:
        import_depresjon(tmp_path / "cohort", write_raw(tmp_path / "raw", scores), window_days=2)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            ["2003-05-07 12:00:00,,1", "2003-05-07 12:01:00,,x"],
            "row 1: column activity cannot be read",
        ),
        (["2003-05-07 12:00:00,,1", "noon,,2"], "row 1: column timestamp cannot be read"),
        (
            ["2003-05-07 12:01:00,,1", "2003-05-07 12:00:00,,2"],
            "row 1: column timestamp lies before",
        ),
        ([], "has no row"),
    ],
)
def test_bad_recordings_are_answered_with_file_row_and_column(tmp_path, lines, message):
    raw = write_raw(tmp_path / "raw")
    (raw / "condition/condition_1.csv").write_text("\n".join(["timestamp,date,activity", *lines]))
    with pytest.raises(DataError, match=rf"condition_1\.csv: .*{message}"):
        import_depresjon(tmp_path / "cohort", raw, window_days=2)


def test_the_real_data_have_the_published_counts(tmp_path, real_data):
    import_depresjon(tmp_path / "cohort", real_data / "depresjon", window_days=4)
    labels = pl.read_parquet(tmp_path / "cohort/labels/depression.parquet")
    people = labels.group_by("subject_id").agg(pl.col("boolean_value").first())["boolean_value"]
    assert (people.sum(), len(people)) == (23, 55)
    assert all(np.isfinite(signal.values).all() for signal in signals(tmp_path / "cohort").values())
    assert {signal.values.shape for signal in signals(tmp_path / "cohort").values()} == {
        (1, 4 * 1440)
    }
