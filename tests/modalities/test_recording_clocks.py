"""A recording with a clock is read up to the prediction time, or refused if its row differs."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clintune.contracts import Item
from clintune.core.errors import DataError
from clintune.modalities.recording import Signal
from clintune.modalities.rhythm import Rhythm
from clintune.modalities.signals import read_signal, write_npz
from clintune.modalities.wearable import Wearable

START = datetime(2020, 1, 1, 8)
WHERE = "signals.parquet row 2"
MINUTE = 1 / 60


def archive(path, values, start=START, rate_hz=MINUTE):
    write_npz(
        path,
        Signal(
            values=np.array([values], np.float32), rate_hz=rate_hz, channels=["hr"], start=start
        ),
    )
    return path


def table(path, values, start=START, form="%Y-%m-%d %H:%M:%S"):
    moments = [start + timedelta(minutes=place) for place in range(len(values))]
    pl.DataFrame({"time": [moment.strftime(form) for moment in moments], "hr": values}).write_csv(
        path
    )
    return path


@settings(deadline=None)
@given(number=st.integers(2, 40), seconds=st.integers(-90, 60 * 45))
def test_samples_up_to_the_prediction_time_are_read(tmp_path_factory, number, seconds):
    folder = tmp_path_factory.mktemp("r")
    until = START + timedelta(seconds=seconds)
    known = sum(START + timedelta(minutes=place) <= until for place in range(number))
    for path in (archive(folder / "a.npz", range(number)), table(folder / "a.csv", range(number))):
        found = read_signal(path, WHERE, until)
        expected = (
            known if path.suffix == ".npz" or known > 1 else 0
        )  # a table of one time has no rate
        np.testing.assert_array_equal(found.values, [np.arange(expected)])
        assert found.cut == (known < number)


@pytest.mark.parametrize("kind", [Wearable, Rhythm])
@pytest.mark.parametrize("suffix", [".npz", ".csv"])
def test_what_comes_after_the_prediction_time_changes_nothing(tmp_path, kind, suffix):
    draw = np.random.default_rng(0)
    past, future = draw.uniform(50, 90, 3000), draw.uniform(200, 300, 2000)
    write = archive if suffix == ".npz" else table
    short = write(tmp_path / f"short{suffix}", list(past))
    long = write(tmp_path / f"long{suffix}", [*past, *future])
    hours = (len(past) - 1) / 60
    more = (
        {"days": 1}
        if kind is Rhythm
        else {"rate_hz": MINUTE, "window_hours": 6, "transform": "none"}
    )
    modality = kind(min_subjects=1, **more)
    item = Item(hours=hours, code="W", where=WHERE, time=START, path=short)
    modality.build(modality.reader.fit([item]))

    for path in (short, long):
        assert modality.reader.fit(
            [Item(hours=hours, code="W", where=WHERE, time=START, path=path)]
        ) == modality.reader.fit([item])
    mine, cut = (
        modality.reader.preprocess(Item(hours=hours, code="W", where=WHERE, time=START, path=path))
        for path in (short, long)
    )
    assert mine.tensors.keys() == cut.tensors.keys()
    assert all(torch.equal(mine.tensors[name], cut.tensors[name]) for name in mine.tensors)
    assert torch.equal(mine.hours, cut.hours)
    assert cut.hours[-1] == 0
    assert cut.extent == (0, pytest.approx(hours))


def test_all_of_a_file_is_read_for_later_samples(tmp_path):
    path = archive(tmp_path / "a.npz", range(600))
    wearable = Wearable(rate_hz=MINUTE, window_hours=1, transform="none", min_subjects=1, patch=10)
    item = Item(hours=2, code="W", where=WHERE, time=START, path=path, whole=True)
    wearable.build(wearable.reader.fit([item]))
    pieces = wearable.reader.preprocess(item)
    assert len(pieces) == 10
    assert pieces.extent == (0, pytest.approx(599 / 60))


@pytest.mark.parametrize(
    ("file", "row", "said"),
    [
        (START, START - timedelta(minutes=2), "the recording begins after the time of its row"),
        (START.replace(tzinfo=UTC), START, "have a time zone, while the cohort's times have none"),
        (START, START.replace(tzinfo=UTC), "have no time zone, while the cohort's times have one"),
        (START, None, "the row has no time, while its recording tells one"),
    ],
)
def test_a_recording_that_contradicts_its_row_is_refused(tmp_path, file, row, said):
    path = archive(tmp_path / "secret.npz", range(60), start=file)
    item = Item(hours=5, code="W", where=WHERE, time=row, path=path)
    with pytest.raises(DataError, match=rf"^signals\.parquet row 2: .*{said}") as caught:
        Wearable(rate_hz=MINUTE, window_hours=1, transform="none").reader.read(item, None)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("ahead", [-5, 0, 9])
def test_a_zone_is_compared_and_not_the_hands_of_the_clock(tmp_path, ahead):
    form = f"%Y-%m-%dT%H:%M:%S{ahead:+03d}:00"
    path = table(tmp_path / "a.csv", range(120), start=START + timedelta(hours=ahead), form=form)
    found = read_signal(path, WHERE, START.replace(tzinfo=UTC) + timedelta(minutes=30))
    np.testing.assert_array_equal(found.values, [np.arange(31)])
