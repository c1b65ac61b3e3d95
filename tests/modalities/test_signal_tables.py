"""Tables of recordings: every way in which times and numbers are written, and what is refused."""

import gzip
from datetime import UTC, datetime, timedelta, timezone
from itertools import product

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clintune.core.errors import DataError
from clintune.modalities.recording_times import read_times, usual_step
from clintune.modalities.rhythm_features import daily_profile, hourly_means
from clintune.modalities.signal_tables import read_signal_table
from clintune.modalities.signals import read_signal

WHERE = "signals.parquet row 2"
EPOCH = datetime(1970, 1, 1)
MOMENT = datetime(2024, 3, 1, 22, 30)
UNITS = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}


def table(tmp_path, text):
    path = tmp_path / "secret.csv"
    path.write_text(text)
    return read_signal_table(path, WHERE)


def micros(moment):
    return (moment - EPOCH) // timedelta(microseconds=1)


@pytest.mark.parametrize(
    ("text", "moment", "hours_ahead"),
    [
        ("2024-03-01 22:30:00", MOMENT, None),
        ("2024-03-01T22:30:00", MOMENT, None),
        ("2024-03-01 22:30", MOMENT, None),
        ("2024-03-01T22:30:00.25", MOMENT + timedelta(seconds=0.25), None),
        ("2024-03-01 22:30:00,123456789", MOMENT + timedelta(microseconds=123456), None),
        ("2024-03-01", datetime(2024, 3, 1), None),
        ("2024-03-01T22:30:00Z", MOMENT, 0),
        ("2024-03-01 22:30:00 UTC", MOMENT, 0),
        ("2024-03-01T22:30:00+01:00", MOMENT - timedelta(hours=1), 1),
        ("2024-03-01T22:30:00-0530", MOMENT + timedelta(hours=5.5), -5.5),
        ("2024-03-01T22:30+02", MOMENT - timedelta(hours=2), 2),
    ],
)
def test_a_time_means_the_same_however_iso_8601_writes_it(text, moment, hours_ahead):
    found, zone = read_times(pl.Series([text, None]), WHERE)
    assert found.to_list() == [micros(moment), None]
    ahead = None if zone is None else zone.utcoffset(moment)
    assert ahead == (None if hours_ahead is None else timedelta(hours=hours_ahead))


@settings(deadline=None)
@given(
    st.lists(st.datetimes(datetime(1980, 1, 2), datetime(2199, 12, 30)), min_size=1, max_size=5),
    st.sampled_from(list(UNITS)),
    st.booleans(),
)
def test_numbers_count_s_ms_us_or_ns_since_1970_in_utc(moments, unit, as_text):
    seconds = [micros(moment) // 1_000_000 for moment in moments]
    numbers = pl.Series([number * UNITS[unit] for number in seconds])
    found, zone = read_times(numbers.cast(pl.String) if as_text else numbers, WHERE)
    assert zone == UTC
    assert found.to_list() == [1_000_000 * number for number in seconds]


@pytest.mark.parametrize(
    ("times", "said"),
    [
        ([20240301, 20240302], "do not all lie in the years 1980 to 2200"),
        ([1, 2, 3], "do not all lie in the years 1980 to 2200"),
        (["2024-03-01 10:00", "1/3/2024 10:00"], r"time in row 1 .* ISO 8601"),
        (["2024-02-30 10:00"], r"time in row 0 .* ISO 8601"),
        (
            ["2024-03-01 10:00", "2024-03-01T10:00Z"],
            "some of the recording's times have a time zone and some have none",
        ),
        ([True], "times are of type Boolean"),
        ([{"secret": 1}], "times are of type Struct"),
        (["2024-03-01T10:00+00:99"], r"time in row 0 .* ISO 8601"),
        (["2024-03-01T10:00+31:00"], r"time in row 0 .* ISO 8601"),
    ],
)
def test_times_that_could_mean_several_things_are_refused(times, said):
    with pytest.raises(DataError, match=rf"^signals\.parquet row 2: .*{said}") as caught:
        read_times(pl.Series(times), WHERE)
    assert "secret" not in str(caught.value)


def test_a_time_of_day_needs_a_date_beside_it(tmp_path):
    found = table(tmp_path, "Date,time,hr\n2024-03-01,23:59:00,60\n2024-03-02,00:00:00,61\n")
    assert found.micros.tolist() == [
        micros(datetime(2024, 3, 1, 23, 59)),
        micros(datetime(2024, 3, 2)),
    ]
    with pytest.raises(DataError, match="times are times of day; add a column date"):
        table(tmp_path, "time,hr\n23:59:00,60\n")


def test_cells_without_a_value_are_gaps(tmp_path):
    gaps = ["NA", "n/a", "", "null", "-", "NaN", "?"]
    rows = [
        f"2024-03-01 10:{place:02d},{60 if cell == 'x' else cell},lying"
        for place, cell in enumerate([*gaps, "x"])
    ]
    found = table(tmp_path, "time,hr,posture\n" + "\n".join(rows) + "\n")
    assert (found.channels, found.without_numbers) == (["hr"], ("posture",))
    np.testing.assert_array_equal(found.values, [[np.nan] * len(gaps) + [60]])


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("2024-03-01 10:00,60\n2024-03-01 10:01,see note\n", "column hr holds text in row 1"),
        ("2024-03-01 10:00,60\n,61\n", "row 1 has values and no time"),
    ],
)
def test_one_cell_that_does_not_fit_is_named_by_its_row(tmp_path, rows, said):
    with pytest.raises(DataError, match=rf"signals\.parquet row 2: .*{said}") as caught:
        table(tmp_path, "time,hr\n" + rows)
    assert "see note" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_epoch_seconds_give_the_rate_that_they_have(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(
        "timestamp,hr\n" + "".join(f"{1704096000 + 60 * i},{i % 30}\n" for i in range(1440))
    )
    found = read_signal(path, WHERE)
    assert found.rate_hz == pytest.approx(1 / 60)
    assert found.start == datetime(2024, 1, 1, 8, tzinfo=UTC)
    assert found.num_samples == 1440


@pytest.mark.parametrize(
    "day", [datetime(2024, 7, 1), datetime(2024, 3, 30), datetime(2024, 10, 26)]
)
def test_a_zone_tells_the_local_hours_of_rest(tmp_path, day):
    first = pl.Series([day]).dt.replace_time_zone("Europe/Berlin")[0]
    moments = pl.datetime_range(first, first + timedelta(days=3), "1m", closed="left", eager=True)
    rest = (moments.dt.hour() < 6).cast(pl.Float64)
    pl.DataFrame({"time": moments, "activity": 100 * (1 - rest)}).write_parquet(
        tmp_path / "a.parquet"
    )
    found = read_signal(tmp_path / "a.parquet", WHERE)
    hours, start = hourly_means(found)
    profile = daily_profile(hours[0], start)
    assert [hour for hour in range(24) if profile[hour] == 0] == list(range(6))
    assert found.start.replace(tzinfo=None) == day


def test_rows_up_to_a_moment_are_the_same_in_every_zone(tmp_path):
    found = table(
        tmp_path, "time,hr\n" + "".join(f"2024-03-01T10:{i:02d}:00+01:00,{i}\n" for i in range(60))
    )
    for zone in (UTC, timezone(timedelta(hours=-5))):
        cut = found.up_to(datetime(2024, 3, 1, 9, 30, tzinfo=UTC).astimezone(zone))
        np.testing.assert_array_equal(cut.values, [np.arange(31)])


def zoned(path, zone):
    """Write a minute of times that a Parquet file tells in a zone that pandas need not know."""
    moments = pa.array(
        [micros(MOMENT) + 1_000_000 * second for second in range(60)], pa.timestamp("us", zone)
    )
    pq.write_table(pa.table({" time": moments, "hr": np.arange(60.0)}), path)
    return path


@pytest.mark.parametrize(
    ("zone", "minutes"),
    [("+05:30", 330), ("-03:30", -210), ("+05:45", 345), ("+01:00", 60), ("Z", 0), ("UTC", 0)],
)
def test_an_offset_of_parquet_times_gives_the_moment(tmp_path, zone, minutes):
    found = read_signal(zoned(tmp_path / "a.parquet", zone), WHERE)
    utc = MOMENT.replace(tzinfo=UTC)  # Arrow counts in UTC whatever the zone
    assert found.start == utc
    assert found.start.utcoffset() == timedelta(minutes=minutes)
    local = pd.Timestamp(utc).tz_convert(timezone(timedelta(minutes=minutes)))
    assert found.clock()[0] == pytest.approx(local.hour + local.minute / 60)
    np.testing.assert_array_equal(found.values, [np.arange(60)])
    cut = read_signal(tmp_path / "a.parquet", WHERE, utc + timedelta(seconds=9))
    np.testing.assert_array_equal(cut.values, [np.arange(10)])


@pytest.mark.parametrize("zone", ["GMT+5", "+25:00", "Mars/Olympus", "../secret"])
def test_an_unknown_zone_of_parquet_times_is_one_line(tmp_path, zone, capfd):
    with pytest.raises(
        DataError, match=r"^signals\.parquet row 2: .* unknown time zone; write a name"
    ) as caught:
        read_signal(zoned(tmp_path / "a.parquet", zone), WHERE)
    assert "secret" not in str(caught.value)
    assert "panicked" not in capfd.readouterr().err


def test_a_panic_of_polars_is_an_unreadable_recording(tmp_path):
    inner = pa.array([{"at": 1}], pa.struct([("at", pa.timestamp("us", "+05:30"))]))
    pq.write_table(
        pa.table({"time": pa.array([1], pa.timestamp("us")), "hr": [1.0], "more": inner}),
        tmp_path / "a.parquet",
    )
    with pytest.raises(
        DataError, match=r"^signals\.parquet row 2: the recording cannot be read \(PanicException\)"
    ):
        read_signal(tmp_path / "a.parquet", WHERE)


def stamped(path, moments, values):
    """Write times as they are written in CSV, in milliseconds."""
    times = pd.to_datetime(np.asarray(moments), unit="ms").strftime("%Y-%m-%d %H:%M:%S.%f").str[:-3]
    pd.DataFrame({"time": times, "x": values}).to_csv(path, index=False)
    return path


@pytest.mark.parametrize(
    ("rate_hz", "rounded"),
    [
        *product([32, 64, 100, 128, 130, 256, 333, 360, 400], [np.rint, np.floor]),
        (512, np.rint),
        (600, np.rint),
    ],
)
def test_rounded_times_keep_their_rate_and_every_sample(tmp_path, rate_hz, rounded):
    number = 20 * rate_hz
    values = np.random.default_rng(0).normal(size=number).astype(np.float32)
    moments = rounded(np.arange(number) * 1000 / rate_hz).astype(np.int64) + 1_704_096_000_000
    found = read_signal(stamped(tmp_path / "a.csv", moments, values), WHERE)
    assert found.rate_hz == pytest.approx(rate_hz, rel=1e-4)
    np.testing.assert_allclose(found.values, [values], rtol=1e-6)


@pytest.mark.parametrize("rate_hz", [64, 128, 256, 360])
def test_lost_samples_of_rounded_times_are_gaps_at_their_places(tmp_path, rate_hz):
    draw = np.random.default_rng(1)
    number = 60 * rate_hz
    values = draw.normal(size=number).astype(np.float32)
    kept = draw.random(number) > 0.02
    kept[[0, -1]], kept[5 * rate_hz : 8 * rate_hz] = True, False
    moments = np.rint(np.arange(number) * 1000 / rate_hz).astype(np.int64)[kept] + 1_704_096_000_000
    found = read_signal(stamped(tmp_path / "a.csv", moments, values[kept]), WHERE)
    np.testing.assert_allclose(found.values, [np.where(kept, values, np.nan)], rtol=1e-6)


def test_a_clock_that_trembles_has_the_rate_of_its_mean_step(tmp_path):
    draw = np.random.default_rng(2)
    moments = (
        np.rint(np.arange(5000) * 40 + draw.uniform(-9, 9, 5000)).astype(np.int64)
        + 1_704_096_000_000
    )
    found = read_signal(stamped(tmp_path / "a.csv", moments, np.arange(5000)), WHERE)
    assert found.rate_hz == pytest.approx(25, rel=1e-3)
    np.testing.assert_array_equal(found.values, [np.arange(5000)])


def test_rows_between_regular_ones_leave_the_step_as_it_is():
    minutes = np.arange(0, 3600, 60) * 1_000_000
    assert usual_step(np.sort([*minutes, 620_000_000, 1_250_000_000])) == 60_000_000
    assert usual_step(np.array([0, 60, 3720]) * 1_000_000) == 60_000_000


def test_tables_whose_rate_cannot_be_are_refused(tmp_path):
    (tmp_path / "a.csv").write_text("time,hr\n1990-01-01 10:00,1\n2170-01-01 10:00,2\n")
    with pytest.raises(
        DataError, match="rate is no number of samples a second between 1e-07 and 1e"
    ):
        read_signal(tmp_path / "a.csv", WHERE)


@pytest.mark.parametrize(
    "name", ["timestamp", "Date", "DATETIME", "Unnamed: 0", "__index_level_0__", "index"]
)
def test_numbers_that_tell_time_or_count_rows_are_no_channel(tmp_path, name):
    rows = [f"2024-03-01 10:0{place},{place},{60 + place}" for place in range(5)]
    with pytest.raises(
        DataError, match=rf"column {name} tells a time or counts rows, .*; take it out"
    ):
        table(tmp_path, f"time,{name},hr\n" + "\n".join(rows) + "\n")


def test_an_index_of_pandas_is_a_channel_of_nobody(tmp_path):
    moments = pd.date_range("2024-03-01", periods=5, freq="min", name="time")
    frame = pd.DataFrame({"hr": np.arange(5.0)}, index=moments)
    frame.to_parquet(tmp_path / "a.parquet")
    np.testing.assert_array_equal(read_signal(tmp_path / "a.parquet", WHERE).values, [np.arange(5)])
    frame = frame.reset_index().set_index(pd.Index([7] * 5, name="subject"))
    frame.to_parquet(tmp_path / "b.parquet")
    with pytest.raises(DataError, match="column subject tells a time or counts rows"):
        read_signal(tmp_path / "b.parquet", WHERE)


@pytest.mark.parametrize("kind", [pl.Float32, pl.Float16])
def test_times_of_a_type_that_cannot_hold_them_are_refused(kind):
    with pytest.raises(DataError, match=f"times are of type {kind.__name__}"):
        read_times(pl.Series([1.0]).cast(kind), WHERE)


def test_decimal_times_keep_their_fraction():
    found, zone = read_times(
        pl.Series(["1704096000.25", "1704096001.5"]).cast(pl.Decimal(20, 6)), WHERE
    )
    assert (found.to_list(), zone) == ([1704096000_250_000, 1704096001_500_000], UTC)


def test_a_row_without_a_time_and_with_nan_is_left_out(tmp_path):
    (tmp_path / "a.csv").write_text("time,hr\n2024-03-01 10:00,60\n,NaN\n2024-03-01 10:01,61\n")
    moments = [MOMENT, None, MOMENT + timedelta(minutes=1)]
    pl.DataFrame({"time": moments, "hr": [60.0, np.nan, 61.0]}).write_parquet(
        tmp_path / "a.parquet"
    )
    for path in (tmp_path / "a.csv", tmp_path / "a.parquet"):
        np.testing.assert_array_equal(read_signal(path, WHERE).values, [[60, 61]])


def test_names_of_columns_lose_spaces_and_must_be_text(tmp_path):
    assert table(tmp_path, " Time , hr \n2024-03-01 10:00,60\n").channels == ["hr"]
    with pytest.raises(DataError, match="without a name of its own"):
        table(tmp_path, "time,hr, hr\n2024-03-01 10:00,60,61\n")
    (tmp_path / "a.csv").write_bytes(
        "time,pouls café\n2024-03-01 10:00,6\n2024-03-01 10:01,6\n".encode("latin-1")
    )
    with pytest.raises(DataError, match="channel without a name, or one that is not UTF-8"):
        read_signal(tmp_path / "a.csv", WHERE)


@pytest.mark.parametrize("separator", [";", "\t"])
def test_semicolons_and_tabs_part_columns_too(tmp_path, separator):
    text = "time,hr,spo2\n2020-01-01 00:00,60.5,97\n2020-01-01 00:01,61,\n".replace(",", separator)
    (tmp_path / "s.csv").write_text(text)
    found = read_signal(tmp_path / "s.csv", WHERE)
    assert found.channels == ["hr", "spo2"]
    np.testing.assert_array_equal(found.values, [[60.5, 61], [97, np.nan]])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            b"time,x\n2020-01-01 00:00,1\n2020-01-01 00:01,2,3\n",
            r"more cells in row 1 than the 2 columns",
        ),
        (
            b"time;x\n2020-01-01 00:00;1,5\n2020-01-01 00:01;2\n",
            r"column x has a comma in the number of row 0",
        ),
        (
            b"time;x\n2020-01-01 00:00;1,5\n2020-01-01 00:01;2,5\n",
            r"column x has a comma in the number of row 0",
        ),
        ("time,x\n2020-01-01 00:00,1\n".encode("utf-16"), "is not UTF-8, but UTF-16 as it seems"),
        (
            "time,x,wörter\n2020-01-01 00:00,1,ä\n".encode("latin-1"),
            "is not UTF-8; save it as UTF-8|one that is not UTF-8",
        ),
        (
            b"Device: x\ntime,hr\n2020-01-01 00:00,1\n2020-01-01 00:01,2\n",
            "first line must hold the names of the columns",
        ),
        (
            gzip.compress(b"time,x\n2020-01-01 00:00,1\n", mtime=0),
            "is compressed, as by gzip or zip, .*; unpack it",
        ),
        (b"PK\x03\x04\x14\0\0\0", "is compressed, as by gzip or zip, .*; unpack it"),
        (
            "time,x\n2020-01-01 00:00,1\n".encode("utf-16-be"),
            "is not UTF-8, but UTF-16 as it seems",
        ),
        (b"time,x\0\n2020-01-01 00:00,1\n", "is not UTF-8, but no text; save it as CSV in UTF-8"),
        (b"", "first line is empty"),
        (b"\n\n", "first line is empty"),
    ],
)
def test_what_is_wrong_with_a_table_is_said(tmp_path, content, said):
    (tmp_path / "s.csv").write_bytes(content)
    with pytest.raises(DataError, match=rf"^{WHERE}: the recording.*({said})"):
        read_signal(tmp_path / "s.csv", WHERE)


@pytest.mark.parametrize(
    "rows",
    [
        [
            f"2020-01-01 00:{minute:02d},{name},{minute}"
            for minute in range(9)
            for name in ("hr", "spo2")
        ],
        [
            f"2020-01-01 00:{minute:02d},{name},{minute}"
            for name in ("hr", "spo2")
            for minute in range(9)
        ],
        [f"2020-01-01 00:00:{sample // 250:02d},ecg,{sample}" for sample in range(1000)],
    ],
)
def test_rows_that_share_their_times_are_not_averaged_in_silence(tmp_path, rows):
    text = "time,variable,value\n" + "\n".join(rows) + "\n"
    with pytest.raises(
        DataError,
        match=rf"^{WHERE}: in most places several rows of the recording share a time"
        r"; .* of its own",
    ):
        table(tmp_path, text)


def test_the_hour_that_a_local_clock_repeats_is_read(tmp_path):
    first = pl.Series([datetime(2024, 10, 26, 12)]).dt.replace_time_zone("Europe/Berlin")[0]
    moments = pl.datetime_range(first, first + timedelta(days=1), "1m", closed="left", eager=True)
    local = moments.dt.replace_time_zone(None)
    assert local.is_duplicated().sum() == 120
    pl.DataFrame({"time": local, "hr": np.arange(1500.0)}).write_csv(tmp_path / "a.csv")
    assert read_signal(tmp_path / "a.csv", WHERE).num_samples == 1440
