"""Samples stand at the times of labels, of a table, or of last events, and only there."""

import polars as pl
import pytest

from clintune.core.errors import DataError
from clintune.inference.times import labelled_at
from clintune.tasks.binary import Binary
from helpers.rows_by_hand import all_rows
from helpers.scored_cohorts import labels_of, read, samples_of, score

TASKS = {"outcome": Binary(label="deterioration")}


def test_a_table_of_times_says_when_and_labels_do_not(quickstart, run, tmp_path):
    known = samples_of(quickstart).head(4)
    later = known.head(1).with_columns(pl.col("prediction_time").dt.offset_by("1h"))
    pl.concat([known, later]).write_parquet(tmp_path / "times.parquet")
    assert score(run, quickstart, tmp_path / "out", f"times={tmp_path / 'times.parquet'}") == 0
    table = read(tmp_path / "out")
    assert (
        table.select("subject_id", "prediction_time").rows()
        == pl.concat([known, later]).sort(pl.all()).rows()
    )
    assert "boolean_value" not in table.columns  # that of one sample is unknown


def test_labels_are_written_where_all_are_known(quickstart, run, tmp_path):
    samples_of(quickstart).head(4).write_parquet(tmp_path / "times.parquet")
    assert score(run, quickstart, tmp_path / "out", f"times={tmp_path / 'times.parquet'}") == 0
    assert (
        read(tmp_path / "out")["boolean_value"].to_list()
        == labels_of(quickstart).head(4)["boolean_value"].to_list()
    )


def test_last_is_each_subjects_last_event(cohort):
    moments = labelled_at("last", TASKS, cohort)["prediction times"].read(cohort)
    events = all_rows(cohort)
    expected = events.group_by("subject_id").agg(pl.col("time").max()).sort("subject_id")
    assert moments.select("subject_id", "prediction_time").rows() == expected.rows()


def test_subjects_without_a_timed_event_are_counted(cohort, capsys):
    shard = next((cohort / "data").glob("*.parquet"))
    table = pl.read_parquet(shard)
    silent = table["subject_id"].unique()[:2]
    table.filter(
        pl.col("time").is_null() | ~pl.col("subject_id").is_in(silent.implode())
    ).write_parquet(shard)
    moments = labelled_at("last", TASKS, cohort)["prediction times"].read(cohort)
    assert not set(silent) & set(moments["subject_id"])
    assert len(moments) == 38
    assert "2 subjects have no event with a time and are not scored" in capsys.readouterr().err


def test_without_labels_and_times_the_remedy_is_named(cohort):
    (cohort / "labels" / "deterioration.parquet").unlink()
    with pytest.raises(
        DataError,
        match=r"say when to predict \(looked for labels/deterioration\.parquet, .*"
        r"add times=last, or times=FILE",
    ):
        labelled_at(None, TASKS, cohort)


def test_a_table_of_times_stands_on_the_clock_of_the_events(cohort, tmp_path):
    zoned = labels_of(cohort).with_columns(
        pl.col("prediction_time").dt.replace_time_zone("Europe/Berlin")
    )
    zoned.write_parquet(tmp_path / "times.parquet")
    with pytest.raises(
        DataError,
        match=r"times\.parquet: column prediction_time has a time zone, while column time of",
    ):
        labelled_at(str(tmp_path / "times.parquet"), TASKS, cohort)


def test_a_table_of_times_without_a_row_is_refused(quickstart, tmp_path):
    path = tmp_path / "times.parquet"
    labels_of(quickstart).head(0).write_parquet(path)
    with pytest.raises(
        DataError,
        match=r"^times: .*times\.parquet has no row; give it a subject_id and a prediction",
    ):
        labelled_at(str(path), TASKS, quickstart)


def test_times_of_nobody_in_the_cohort_are_refused_in_one_line(quickstart, run, tmp_path, capsys):
    path = tmp_path / "times.parquet"
    labels_of(quickstart).with_columns(pl.col("subject_id") + 10**9).write_parquet(path)
    assert score(run, quickstart, tmp_path / "out", f"times={path}") == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert (
        said == f"clintune: times: no subject of {path} is in the cohort {quickstart}; "
        "check that the two belong together"
    )
