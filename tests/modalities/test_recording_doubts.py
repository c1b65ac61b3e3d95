"""Doubtful recordings are told in words that neither name nor count anything of few subjects."""

import json
import re
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from clintune.contracts import Item
from clintune.core.errors import PackageError
from clintune.modalities.recording import Signal
from clintune.modalities.rhythm import Rhythm
from clintune.modalities.signals import write_npz
from clintune.modalities.wearable import Wearable
from clintune.package.statistics import check_statistics

START = datetime(2020, 1, 1, 18, 0)
HOURLY = {"rate_hz": 1 / 3600, "window_hours": 24, "patch": 4, "width": 32, "transform": "none"}


@pytest.fixture
def save(tmp_path):
    def save(name, rate_hz=1 / 3600, **channels):
        path = tmp_path / f"{name}.npz"
        values = np.array(list(channels.values()), dtype=np.float32)
        write_npz(
            path, Signal(values=values, rate_hz=rate_hz, channels=list(channels), start=START)
        )
        end = START + timedelta(hours=values.shape[1] / (3600 * rate_hz))
        return Item(hours=10.0, code="WEARABLE", where=f"row {name}", time=end, path=path)

    return save


def twelve(save, what, **channels):
    """Return a recording of each of twelve subjects; a channel depends on the subject's number."""
    rows = [{name: make(number) for name, make in channels.items()} for number in range(12)]
    return [
        replace(save(f"{what} {number}", **row), subject=number) for number, row in enumerate(rows)
    ]


@pytest.mark.parametrize("kind", [Wearable, Rhythm])
def test_what_is_doubtful_of_recordings_is_told(save, kind):
    gaps = twelve(save, "gaps", x=lambda n: [*np.full(36, np.nan), *np.arange(12) + n])
    flat = twelve(save, "flat", x=lambda n: np.full(48, n), y=lambda n: np.full(48, 7))
    marks = twelve(
        save,
        "marks",
        hr=lambda n: [-999, *range(60, 107)],
        z=lambda n: [-999, *range(-2000, -1953)],
    )

    def said(items):
        modality = Wearable(**HOURLY) if kind is Wearable else Rhythm(rate_hz=1 / 3600, days=1)
        return modality.reader.remarks(modality.reader.fit(items))

    assert said(gaps) == [
        "(nearly) all training subjects have a recording of which more than half are gaps; "
        "look whether all was read"
    ]
    assert said(flat)[0].startswith(
        "(nearly) all training subjects have a recording in which no value differs"
    )
    assert said(marks) == [
        "channel hr has values as -1, -999 or 9999, far from all others; "
        "leave a gap where one is missing"
    ]
    assert said(twelve(save, "usual", x=lambda n: np.arange(48) + n)) == []


@pytest.mark.parametrize(
    ("make", "is_told"),
    [
        (lambda n: [*range(60, 100), *np.zeros(8)], True),
        (lambda n: [*range(60 + n, 108 + n)] if n < 6 else np.r_[np.zeros(47), 70], True),
        (lambda n: [*range(40), *np.zeros(8)], False),
        (lambda n: [*range(-100, -60), *np.zeros(8)], False),
        (lambda n: [*range(60, 107), 0] if n == 0 else range(60, 108), False),
    ],
)
def test_zeros_far_from_all_other_values_are_told(save, make, is_told):
    modality = Wearable(**HOURLY)
    said = modality.reader.remarks(modality.reader.fit(twelve(save, "zeros", hr=make)))
    told = "channel hr has zeros far from all other values; leave a gap where one is missing"
    assert (told in said) == is_told


def test_flat_recordings_of_few_subjects_are_not_counted_out(save):
    items = twelve(save, "few", x=lambda n: np.full(48, n) if n < 10 else np.arange(48))
    assert Wearable(**HOURLY).reader.fit(items)["flat"] == 0


def varied(number, size=600):
    """Return a clean recording of a subject: a level of its own, noise, and a gap."""
    draw = np.random.default_rng(number)
    values = draw.lognormal(4, 0.3) * draw.uniform(0.5, 1.5, size)
    values[: size // 10] = np.nan
    return values


def said(items, **settings):
    wearable = Wearable(**{**HOURLY, **settings})
    statistics = wearable.reader.fit(items)
    assert json.loads(json.dumps(statistics)) == statistics
    check_statistics(Path(), {"watch": wearable}, {"watch": statistics})
    return wearable.reader.remarks(statistics)


def recordings(save, number=40, rate_hz=lambda n: 1 / 3600, **channels):
    """Return a recording a subject; a channel depends on its number, and is null if it lacks it."""
    made = [{name: make(n) for name, make in channels.items()} for n in range(number)]
    held = [{name: values for name, values in row.items() if values is not None} for row in made]
    return [
        replace(save(f"s{n}", rate_hz=rate_hz(n), **row), subject=n) for n, row in enumerate(held)
    ]


def test_clean_recordings_of_many_kinds_say_nothing(save):
    centred = lambda n: np.random.default_rng(n).normal(0, 1, 600)  # noqa: E731
    rates = lambda n: (1 + 2 * (n % 2)) / 3600  # noqa: E731
    skewed = lambda n: np.random.default_rng(n).lognormal(n % 5 / 2, 1, 600)  # noqa: E731
    seldom = lambda n: varied(n) if n % 20 else None  # noqa: E731
    for count in (12, 40):
        assert said(recordings(save, count, rates, hr=varied, ecg=centred, steps=skewed)) == []
    assert said(recordings(save, 300, hr=varied, ecg=centred, spo2=seldom)) == []


@pytest.mark.parametrize("channels", [None, ["hr", "x"]])
def test_names_that_differ_in_case_or_spaces_alone_are_told(save, channels):
    def made(few):
        upper = lambda n: varied(n) if n < few else None  # noqa: E731
        return recordings(
            save, 40, x=varied, hr=lambda n: None if n < few else varied(n), **{"H R": upper}
        )

    sentence = (
        "channels H R and hr differ in case or spaces alone; give them one name, if they are one"
    )
    assert sentence in said(made(20), channels=channels)
    assert not any("H R" in part for part in said(made(10), channels=channels))


def test_channels_that_many_subjects_lack_are_told(save):
    def lacking(share):
        return lambda n: None if n < share * 40 else varied(n)

    found = said(
        recordings(save, hr=varied, a=lacking(0.05), b=lacking(0.3), c=lacking(0.6), d=lacking(0.7))
    )
    assert found == [
        "channel d: 70 % of the training subjects have no value of it",
        "channel c: 60 % of the training subjects have no value of it",
        "channel b: 30 % of the training subjects have no value of it",
    ]
    more = said(recordings(save, hr=varied, **{name: lacking(0.5) for name in "abcde"}))
    assert (
        more[-1]
        == "2 more channels: more than a tenth of the training subjects have no value of each"
    )
    assert len(more) == 4
    assert said(recordings(save, 20, hr=varied, a=lacking(0.2))) == [], (
        "fewer than 11 of 20 lack it"
    )


@pytest.mark.parametrize(("number", "other"), [(40, 20), (40, 3)])
def test_recordings_in_two_units_are_told(save, number, other):
    found = said(recordings(save, number, acc=lambda n: varied(n) * (1000 if n < other else 1)))
    (sentence,) = found
    assert re.fullmatch(
        r"channel acc: the means of its recordings lie in two groups, (1,000|[6-9]00|2,000) "
        r"times apart; look whether all are in one unit",
        sentence,
    )


def test_one_recording_far_from_the_others_is_no_other_unit(save):
    assert said(recordings(save, 40, acc=lambda n: varied(n) * (1000 if n < 2 else 1))) == []
    few = [replace(item, subject=item.subject % 10) for item in recordings(save, 40, acc=varied)]
    few += [replace(save(f"far {n}", acc=1000 * varied(n)), subject=n) for n in range(10)]
    assert said(few, min_subjects=1) == []


def test_means_near_zero_tell_of_no_unit(save):
    def ecg(number):
        noise = np.random.default_rng(number).normal(0, 1, 600)
        return noise - noise.mean() + (0.05 if number % 2 else 0.001)

    assert said(recordings(save, 40, ecg=ecg)) == []


def test_rates_that_differ_much_are_told(save):
    def made(few):
        return recordings(save, 40, lambda n: (1 if n < few else 10) / 3600, hr=varied)

    assert said(made(20)) == [
        "recordings have from 0.00028 to 0.0028 samples a second; look whether each rate is right"
    ]
    assert said(made(5)) == [
        "the rates of recordings differ by a factor of 5 or more; look whether each rate is right"
    ]
    assert said(recordings(save, 40, lambda n: (1 + 3 * (n % 2)) / 3600, hr=varied)) == []
    assert said(recordings(save, 40, lambda n: 1.1**n / 3600, hr=varied), window_hours=4) == [], (
        "rates of all kinds"
    )


def test_recordings_much_shorter_than_a_window_are_told(save):
    items = recordings(save, 40, lambda n: 1.0, hr=varied)
    assert said(items, rate_hz=1.0) == [
        "recordings last 0.17 h in the middle, while window_hours is 24; "
        "look whether their rate is right"
    ]
    assert said(items, rate_hz=1.0, window_hours=3) == []
    rhythm = Rhythm(rate_hz=1.0, days=2)
    assert rhythm.reader.remarks(rhythm.reader.fit(items))[-1].endswith(
        "while days is 2; look whether their rate is right"
    )


def test_gaps_are_told_by_the_subjects_with_a_recording(save):
    def made(few):
        mostly = lambda n: np.where(  # noqa: E731
            np.arange(600) < (400 if n < few else 200), np.nan, varied(n)
        )
        return recordings(
            save, 40, hr=mostly, other=lambda n: varied(n) if n % 2 else np.full(600, np.nan)
        )

    assert said(made(20), channels=["hr"]) == [
        "50 % of the training subjects have a recording of which more than half are gaps; "
        "look whether all was read"
    ]
    assert said(made(10), channels=["hr"]) == []
    assert not any("gaps" in part for part in said(made(0))), (
        "a channel without any value is no gap"
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {"gaps": 2},
        {"alike": "hr"},
        {"alike": [1]},
        {"absent": {"hr": 1.5}},
        {"absent": ["hr"]},
        {"apart": {"hr": -1}},
        {"apart": {"hr": float("inf")}},
        {"apart": {1: 5.0}},
        {"rates": [1.0]},
        {"rates": [1.0, "2"]},
        {"rates": [2.0, 1.0]},
        {"hours": 0},
        {"hours": [1]},
    ],
)
def test_doubts_that_clintune_does_not_write_make_no_package(wrong):
    wearable = Wearable(**HOURLY)
    right = {"channels": ["hr"], "mean": [0.0], "std": [1.0], "min_subjects": 11, "num_rare": 0}
    check_statistics(Path(), {"watch": wearable}, {"watch": right})
    with pytest.raises(
        PackageError, match=rf"statistics\.watch hold (an? )?{next(iter(wrong))} (that|with)"
    ):
        check_statistics(Path(), {"watch": wearable}, {"watch": right | wrong})
