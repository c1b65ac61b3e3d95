"""Tables of recordings: every way in which times and numbers are written, and what is refused."""

from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clintune.core.errors import DataError
from clintune.modalities.rhythm import daily_profile, hourly_means
from clintune.modalities.signal_tables import read_signal_table, read_times
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
    ],
)
def test_times_that_could_mean_several_things_are_refused(times, said):
    with pytest.raises(DataError, match=rf"^signals\.parquet row 2: .*{said}"):
        read_times(pl.Series(times), WHERE)


def test_a_time_of_day_needs_a_date_beside_it(tmp_path):
    found = table(tmp_path, "Date,time,hr\n2024-03-01,23:59:00,60\n2024-03-02,00:00:00,61\n")
    assert found.micros.tolist() == [micros(datetime(2024, 3, 1, 23, 59)), micros(datetime(2024, 3, 2))]
    with pytest.raises(DataError, match="times are times of day; add a column date"):
        table(tmp_path, "time,hr\n23:59:00,60\n")


def test_cells_without_a_value_are_gaps_and_a_column_of_words_is_no_channel(tmp_path):
    gaps = ["NA", "n/a", "", "null", "-", "NaN", "?"]
    rows = [f"2024-03-01 10:{place:02d},{60 if cell == 'x' else cell},lying" for place, cell in enumerate([*gaps, "x"])]
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
def test_one_cell_that_does_not_fit_is_named_by_its_row_and_not_by_its_words(tmp_path, rows, said):
    with pytest.raises(DataError, match=rf"signals\.parquet row 2: .*{said}") as caught:
        table(tmp_path, "time,hr\n" + rows)
    assert "see note" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_epoch_seconds_give_the_rate_that_they_have(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("timestamp,hr\n" + "".join(f"{1704096000 + 60 * i},{i % 30}\n" for i in range(1440)))
    found = read_signal(path, WHERE)
    assert found.rate_hz == pytest.approx(1 / 60)
    assert found.start == datetime(2024, 1, 1, 8, tzinfo=UTC)
    assert found.num_samples == 1440


@pytest.mark.parametrize("day", [datetime(2024, 7, 1), datetime(2024, 3, 30), datetime(2024, 10, 26)])
def test_a_zone_tells_the_local_hours_of_rest_in_summer_and_where_the_clock_is_set(tmp_path, day):
    first = pl.Series([day]).dt.replace_time_zone("Europe/Berlin")[0]
    moments = pl.datetime_range(first, first + timedelta(days=3), "1m", closed="left", eager=True)
    rest = (moments.dt.hour() < 6).cast(pl.Float64)
    pl.DataFrame({"time": moments, "activity": 100 * (1 - rest)}).write_parquet(tmp_path / "a.parquet")
    found = read_signal(tmp_path / "a.parquet", WHERE)
    hours, start = hourly_means(found)
    profile = daily_profile(hours[0], start)
    assert [hour for hour in range(24) if profile[hour] == 0] == list(range(6))
    assert found.start.replace(tzinfo=None) == day


def test_rows_up_to_a_moment_are_the_same_in_every_zone(tmp_path):
    found = table(tmp_path, "time,hr\n" + "".join(f"2024-03-01T10:{i:02d}:00+01:00,{i}\n" for i in range(60)))
    for zone in (UTC, timezone(timedelta(hours=-5))):
        cut = found.up_to(datetime(2024, 3, 1, 9, 30, tzinfo=UTC).astimezone(zone))
        np.testing.assert_array_equal(cut.values, [np.arange(31)])
