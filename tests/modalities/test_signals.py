import os
import warnings
from datetime import datetime

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from clintune.core.errors import DataError
from clintune.modalities.signals.files import read_signal, write_npz
from clintune.modalities.signals.signal import Signal

START = datetime(2020, 1, 1, 22, 30)
VALUES = arrays(np.float32, st.integers(1, 60), elements=st.sampled_from([0, 1, 2.5, -3, np.nan]))


WHOLE = {"signal": np.ones((1, 9)), "rate_hz": 1.0, "channels": ["x"]}


def signal(*rows, rate_hz=1.0, start=START):
    values = np.array(rows, dtype=np.float32)
    return Signal(
        values=values, rate_hz=rate_hz, channels=[f"c{n}" for n in range(len(rows))], start=start
    )


def read(path):
    return read_signal(path, "signals.parquet row 2")


def same(first, second):
    np.testing.assert_allclose(first.values, second.values, rtol=1e-6)
    return (first.channels, first.rate_hz, first.start) == (
        second.channels,
        second.rate_hz,
        second.start,
    )


def test_npz_keeps_everything(tmp_path):
    for written in (signal([1, np.nan, 3], [4, 5, 6], rate_hz=250.0), signal([0, 1], start=None)):
        write_npz(tmp_path / "s.npz", written)
        assert same(read(tmp_path / "s.npz"), written)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_tables_are_laid_on_the_grid_of_their_median_step(tmp_path, suffix):
    minutes = [0, 1, 2, 5, 6, 6, 7]
    table = pl.DataFrame(
        {
            "timestamp": [datetime(2020, 1, 1, 22, 30 + minute) for minute in minutes],
            "date": ["1/2/2020"] * 7,
            "activity": [1, 2, None, 4, 5, 7, 8],
        }
    ).sample(fraction=1, shuffle=True, seed=1)
    if suffix == ".csv":
        table.write_csv(tmp_path / "s.csv", datetime_format="%Y-%m-%d %H:%M:%S")
    else:
        table.write_parquet(tmp_path / "s.parquet")
    found = read(tmp_path / f"s{suffix}")
    gap = np.nan
    assert same(
        found,
        Signal(
            values=np.array([[1, 2, gap, gap, gap, 4, 6, 8]], np.float32),
            rate_hz=1 / 60,
            channels=["activity"],
            start=START,
        ),
    )


def test_times_with_a_t_are_read_and_other_orders_refused(tmp_path):
    (tmp_path / "iso.csv").write_text("time,x\n2020-01-01T22:30:00.5,1\n2020-01-01T22:30:01.5,2\n")
    assert read(tmp_path / "iso.csv").start == datetime(2020, 1, 1, 22, 30, 0, 500_000)
    (tmp_path / "day_first.csv").write_text("time,x\n3/4/2020 10:00,1\n3/4/2020 10:01,2\n")
    with pytest.raises(DataError, match=r"signals\.parquet row 2: .* time in row 0 .* ISO 8601"):
        read(tmp_path / "day_first.csv")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("time,x,,\n2020-01-01 10:00:00,1,,3\n", "without a name"),
        ("time,x,x\n2020-01-01 10:00:00,1,3\n", "without a name"),
        ("when,x\n2020-01-01 10:00:00,1\n", "no column time"),
        ("time,x\n2020-01-01 10:00:00,1\n", "two times"),
        ("time,x\n2020-01-01 10:00:00,a\n2020-01-01 10:01:00,b\n", "numeric column"),
        (
            "time,x\n2020-01-01 10:00:00,1\n2020-01-01 10:01:00,1\n2020-01-01 10:02:00,1\n"
            "2102-01-01 10:02:00,1\n",
            "mistyped date",
        ),
        ("time,x\n2020-01-01 10:00:00,\n2020-01-01 10:01:00,\n", "numeric column|no observed"),
        ("time,x\n2020-01-01 10:00:00,NaN\n2020-01-01 10:01:00,NaN\n", "no observed sample"),
    ],
)
def test_tables_that_are_no_recording_are_refused_by_their_row(tmp_path, text, said):
    (tmp_path / "secret.csv").write_text(text)
    with pytest.raises(DataError, match=rf"signals\.parquet row 2: .*({said})") as caught:
        read(tmp_path / "secret.csv")
    assert "secret" not in str(caught.value)


def test_wfdb_records_are_read_in_physical_units(tmp_path):
    physical = np.round(np.sin(np.arange(500) / 10)[:, None] * [1.0, 80.0], 2)
    physical[100:120, 1] = np.nan
    units = {
        "units": ["mV", "mmHg"],
        "adc_gain": [1000.0, 100.0],
        "baseline": [0, 0],
        "fmt": ["16", "16"],
    }
    when = {"base_time": START.time(), "base_date": START.date()}
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", DeprecationWarning
        )  # wfdb writes by way of pandas that changes
        import wfdb

        wfdb.wrsamp(
            "rec",
            250,
            sig_name=["II", "ABP"],
            p_signal=physical,
            write_dir=str(tmp_path),
            **units,
            **when,
        )
    found = read(tmp_path / "rec.hea")
    assert (found.channels, found.rate_hz, found.start) == (["II", "ABP"], 250.0, START)
    np.testing.assert_allclose(found.values, physical.T, atol=0.006)


@pytest.mark.parametrize(
    "change", [{"channels": ["a", "a"]}, {"rate_hz": -1.0}, {"rate_hz": float("nan")}]
)
def test_impossible_recordings_are_refused(tmp_path, change):
    write_npz(
        tmp_path / "s.npz",
        Signal(
            **{
                "values": np.ones((2, 3), np.float32),
                "rate_hz": 1.0,
                "channels": ["a", "b"],
                **change,
            }
        ),
    )
    with pytest.raises(DataError, match=r"signals\.parquet row 2: the recording"):
        read(tmp_path / "s.npz")


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"signal": np.ones((1, 9)), "channels": ["x"]}, "lacks the array rate_hz"),
        (
            {"signal": np.ones((9, 2)), "rate_hz": 1.0, "channels": ["x", "y"]},
            r"2 channels and .* shape \[9, 2\]",
        ),
        (
            {**WHOLE, "start_time": "2020-01-01T22:30"},
            "array start_time, .*; call the time of the first sample start$",
        ),
        (
            {**WHOLE, "Time\x1b": np.arange(9)},
            r"array Time\\x1b, .*; call the time of the first sample start$",
        ),
        (
            {**WHOLE, "channels": np.array(["x"], object)},
            "array that holds Python objects; write text or numbers$",
        ),
        (
            {**WHOLE, "start": np.array(START, object)},
            "array that holds Python objects; write text or numbers$",
        ),
    ],
)
def test_archives_of_another_form_are_refused_with_what_is_amiss(tmp_path, arrays, said):
    np.savez(tmp_path / "s.npz", **arrays)
    with pytest.raises(DataError, match=rf"signals\.parquet row 2: the recording .*{said}"):
        read(tmp_path / "s.npz")


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns", "m", "h"])
@pytest.mark.parametrize("shape", [(), (1,)])
def test_the_start_of_an_archive_may_be_of_any_unit(tmp_path, unit, shape):
    start = np.datetime64("2020-01-01T22:00").astype(f"datetime64[{unit}]").reshape(shape)
    np.savez(tmp_path / "s.npz", signal=np.ones((1, 9)), rate_hz=1.0, channels=["x"], start=start)
    assert read(tmp_path / "s.npz").start == START.replace(minute=0)


@pytest.mark.parametrize("start", ["2020-01-01T22:30", b"2020-01-01T22:30", ["2020-01-01T22:30"]])
@pytest.mark.parametrize("channels", [["II", "V1"], [b"II", b"V1"], [" II", "V1 "]])
def test_text_of_an_archive_may_be_bytes_or_in_a_list(tmp_path, start, channels):
    np.savez(
        tmp_path / "s.npz", signal=np.ones((2, 9)), rate_hz=1.0, channels=channels, start=start
    )
    found = read(tmp_path / "s.npz")
    assert (found.channels, found.start) == (["II", "V1"], START)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"channels": [""]}, "channel without a name"),
        ({"channels": ["nan"]}, "channel without a name"),
        ({"channels": [np.nan]}, "channel without a name"),
        ({"channels": [b"caf\xe9"]}, "cannot be read"),
        ({"start": np.float32(1704096000)}, "times are of type Float32"),
        ({"start": ["2020-01-01", "2020-01-02"]}, "start holds 2 times"),
        ({"signal": np.ones((1, 9), [("secret", "f4")])}, "array signal is of type void"),
        (
            {"signal": np.ones((1, 9), complex)},
            "array signal is of type complex128; write real numbers",
        ),
        ({"rate_hz": 1e-9}, "rate"),
        ({"rate_hz": 1e300}, "rate"),
    ],
)
def test_archives_that_cannot_be_meant_are_refused(tmp_path, change, said):
    np.savez(
        tmp_path / "s.npz",
        **{"signal": np.ones((1, 9)), "rate_hz": 1.0, "channels": ["x"], **change},
    )
    with pytest.raises(DataError, match=rf"^signals\.parquet row 2: .*{said}") as caught:
        read(tmp_path / "s.npz")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".npz", ".hea"])
def test_a_pipe_keeps_nobody_waiting(tmp_path, suffix):
    os.mkfifo(tmp_path / f"s{suffix}")
    with pytest.raises(DataError, match="the media file is a pipe or device; save it as a file"):
        read(tmp_path / f"s{suffix}")


def test_infinite_samples_are_gaps(tmp_path):
    write_npz(tmp_path / "s.npz", signal([1, np.inf, -np.inf]))
    np.testing.assert_array_equal(read(tmp_path / "s.npz").values, [[1, np.nan, np.nan]])


@settings(deadline=None)
@given(values=VALUES, factor=st.integers(2, 7))
def test_a_lower_rate_is_the_mean_of_what_was_observed(values, factor):
    found = signal(values).at_rate(1 / factor).values[0]
    assert len(found) == -(-len(values) // factor)
    for step, value in enumerate(found):
        seen = values[step * factor : (step + 1) * factor]
        seen = seen[np.isfinite(seen)]
        assert (
            np.isnan(value)
            if len(seen) == 0
            else value == pytest.approx(seen.mean(), rel=1e-5, abs=1e-6)
        )


@settings(deadline=None)
@given(values=VALUES, factor=st.integers(2, 7))
def test_a_higher_rate_repeats_samples_and_gaps(values, factor):
    found = signal(values).at_rate(float(factor)).values[0]
    np.testing.assert_array_equal(found, np.repeat(values, factor))


def test_a_rate_that_differs_by_rounding_is_the_same_rate():
    days = signal(np.arange(28_800), rate_hz=1 / 60)
    assert days.at_rate(0.01667) is days
    assert days.at_rate(1 / 3600).num_samples == 480


def test_a_quarter_of_an_hour_at_250_hz_comes_down_to_1_hz():
    seconds = np.arange(900)
    found = signal(np.repeat(seconds, 250), rate_hz=250.0).at_rate(1.0)
    np.testing.assert_allclose(found.values[0], seconds, rtol=1e-6)


def test_the_clock_tells_local_hours_of_the_day():
    np.testing.assert_allclose(
        signal(np.zeros(4), rate_hz=1 / 3600).clock(), [22.5, 23.5, 0.5, 1.5]
    )
    assert np.isnan(signal([1, 2], start=None).clock()).all()
    later = signal(np.zeros(8), rate_hz=1 / 3600).part(3, 5)
    assert (later.start, later.num_samples) == (datetime(2020, 1, 2, 1, 30), 2)


@settings(deadline=None)
@given(values=VALUES, length=st.integers(1, 20))
def test_windows_are_those_that_observe_something_side_by_side(values, length):
    spans = signal(values).windows(length)
    assert spans == sorted(spans)
    assert all(
        stop - start == length and (len(values) - stop) % length == 0 for start, stop in spans
    )
    seen = {
        stop
        for stop in range(len(values), 0, -length)
        if np.isfinite(values[max(0, stop - length) : stop]).any()
    }
    assert {stop for _, stop in spans} == seen


def test_a_channel_that_a_recording_lacks_is_a_gap():
    found = signal([1, 2], [3, 4]).with_channels(["c1", "other"])
    np.testing.assert_array_equal(found.values, [[3, 4], [np.nan, np.nan]])


def test_other_arrays_of_an_archive_change_nothing(tmp_path):
    np.savez(
        tmp_path / "s.npz",
        **WHOLE,
        start="2020-01-01T22:30",
        time_unit="s",
        notes=np.array(["x"], object),
    )
    assert read(tmp_path / "s.npz").start == START
