from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clintune.contracts import Item
from clintune.core.errors import ConfigError
from clintune.modalities.recording import Signal
from clintune.modalities.rhythm import Rhythm
from clintune.modalities.rhythm_features import (
    autocorrelation,
    daily_profile,
    extreme_hours,
    hourly_means,
    interdaily_stability,
    intradaily_variability,
    transitions,
)
from clintune.modalities.rhythm_reader import GROUPS, RhythmReader
from clintune.modalities.signals import write_npz

DAYS = 14
HOUR = np.arange(24 * DAYS)
SINE = 1 - np.cos(2 * np.pi * HOUR / 24)

FEATURES = [name for group in ("profile", "rhythm", "level") for name in GROUPS[group]]


def witting(hours):
    """Return IS and IV as the paper writes them, for whole days without gaps."""
    n, mean = len(hours), hours.mean()
    squares = ((hours - mean) ** 2).sum()
    days = hours.reshape(-1, 24).mean(0)
    stability = n * ((days - mean) ** 2).sum() / (24 * squares)
    variability = n * (np.diff(hours) ** 2).sum() / ((n - 1) * squares)
    return stability, variability


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 1000), days=st.integers(2, 20))
def test_is_and_iv_are_the_published_sums(seed, days):
    hours = np.random.default_rng(seed).gamma(1.0, 100.0, 24 * days)
    found = interdaily_stability(hours, 0), intradaily_variability(hours)
    np.testing.assert_allclose(found, witting(hours), rtol=1e-9)


def test_a_sine_of_a_day_has_known_features():
    assert interdaily_stability(SINE, 0) == pytest.approx(1)
    assert intradaily_variability(SINE) == pytest.approx(2 * (1 - np.cos(np.pi / 12)), rel=0.01)
    l5, m10 = extreme_hours(daily_profile(SINE, 0))
    assert l5 == pytest.approx(1 - np.cos(2 * np.pi * np.arange(-2, 3) / 24).mean())
    assert m10 == pytest.approx(
        1 + np.cos(2 * np.pi * (np.arange(10) - 4.5 + 0.5) / 24).mean(), rel=0.02
    )
    assert m10 == pytest.approx(
        max(np.mean(1 - np.cos(2 * np.pi * (start + np.arange(10)) / 24)) for start in range(24))
    )


def test_white_noise_is_neither_stable_nor_smooth():
    noise = np.random.default_rng(0).normal(size=24 * 400)
    assert interdaily_stability(noise, 0) == pytest.approx(1 / 400, abs=0.003)
    assert intradaily_variability(noise) == pytest.approx(2, abs=0.06)


def test_a_constant_has_no_rhythm_to_speak_of():
    constant = np.full(72, 0.1)
    assert np.isnan(interdaily_stability(constant, 0))
    assert np.isnan(intradaily_variability(constant))
    np.testing.assert_allclose(extreme_hours(daily_profile(constant, 0)), 0.1)


def test_missing_hours_are_left_out_and_the_start_turns():
    holes = SINE.copy()
    holes[[5, 29, 100, 101]] = np.nan
    np.testing.assert_allclose(daily_profile(holes, 0), SINE[:24], atol=1e-12)
    assert interdaily_stability(holes, 0) == pytest.approx(1, rel=0.02)
    assert intradaily_variability(holes) == pytest.approx(intradaily_variability(SINE), rel=0.05)
    np.testing.assert_allclose(daily_profile(SINE, 6), np.roll(SINE[:24], 6))
    assert extreme_hours(daily_profile(SINE, 6)) == pytest.approx(
        extreme_hours(daily_profile(SINE, 0))
    )
    night = SINE.copy()
    night[HOUR % 24 < 6] = np.nan
    assert np.isnan(daily_profile(night, 0)[:6]).all()
    assert np.isfinite(extreme_hours(daily_profile(night, 0))).all()


def test_hours_are_the_clocks_and_need_half_their_samples():
    start = datetime(2020, 1, 1, 9, 45)
    minutes = Signal(
        values=np.arange(180.0, dtype=np.float32)[None], rate_hz=1 / 60, channels=["x"], start=start
    )
    means, first = hourly_means(minutes)
    assert first == 9
    np.testing.assert_allclose(
        means[0],
        [np.nan, np.arange(15, 75).mean(), np.arange(75, 135).mean(), np.arange(135, 180).mean()],
    )


def recording(tmp_path, name, values, start=datetime(2020, 1, 1, 12), **more):
    values = np.array([values, *more.values()], dtype=np.float32)
    write_npz(
        tmp_path / f"{name}.npz",
        Signal(values=values, rate_hz=1 / 60, channels=["activity", *more], start=start),
    )
    end = start and start + timedelta(minutes=values.shape[1])
    return Item(hours=1.0, code="W", where=f"row {name}", time=end, path=tmp_path / f"{name}.npz")


@pytest.fixture
def items(tmp_path):
    draw = np.random.default_rng(0)
    return [
        recording(tmp_path, str(n), draw.poisson(np.repeat(100 * SINE * draw.uniform(0.5, 2), 60)))
        for n in range(6)
    ]


def test_features_are_standardised_and_unknown_ones_flagged(items, tmp_path):
    rhythm = Rhythm(min_subjects=1)
    rhythm.build(rhythm.reader.fit(items))
    tokens = torch.cat([rhythm.encode(rhythm.reader.preprocess(item).tensors) for item in items])[
        :, 0
    ]
    width = len(FEATURES)
    assert rhythm.width == 2 * width
    assert rhythm.cacheable
    torch.testing.assert_close(tokens[:, :width].mean(0), torch.zeros(width), atol=1e-3, rtol=0)
    assert tokens[:, width:].all()
    unknown = rhythm.encode(
        rhythm.reader.preprocess(recording(tmp_path, "n", np.ones(3000), start=None)).tensors
    )[0, 0]
    known = dict(zip(FEATURES, unknown[width:].tolist(), strict=True))
    assert not any(known[f"hour_{hour:02d}"] for hour in range(24))
    assert [
        known[name] for name in ("interdaily_stability", "intradaily_variability", "l5", "mean")
    ] == [0, 0, 1, 1]
    assert unknown.isfinite().all()
    assert unknown.abs().max() <= 5


def test_raw_features_are_those_of_the_hourly_means(items):
    rhythm = Rhythm(min_subjects=1)
    rhythm.build(rhythm.reader.fit(items))
    raw = rhythm.reader.preprocess(items[0]).tensors["features"][0].tolist()
    found = dict(zip(FEATURES, raw, strict=True))
    with np.load(items[0].path) as file:
        minutes = file["signal"][0].astype(float)
    hours = minutes.reshape(-1, 60).mean(1)
    stability, variability = witting(hours)
    l5, m10 = extreme_hours(daily_profile(hours, 12))
    assert found["interdaily_stability"] == pytest.approx(stability, rel=1e-4)
    assert found["intradaily_variability"] == pytest.approx(variability, rel=1e-4)
    assert found["relative_amplitude"] == pytest.approx((m10 - l5) / (m10 + l5), rel=1e-4)
    assert found["l5"] == pytest.approx(np.log1p(l5), rel=1e-4)
    assert found["mean"] == pytest.approx(np.log1p(minutes).mean(), rel=1e-4)
    assert found["deviation"] == pytest.approx(np.log1p(minutes).std(), rel=1e-4)
    assert found["share_of_zeros"] == pytest.approx((minutes == 0).mean(), rel=1e-4)
    assert found["hour_12"] == pytest.approx(
        np.log1p(minutes).reshape(-1, 24, 60)[:, 0].mean(), rel=1e-4
    )


def test_only_the_newest_days_count(items, tmp_path):
    rhythm = Rhythm(min_subjects=1, days=2)
    rhythm.build(rhythm.reader.fit(items))
    with np.load(items[0].path) as file:
        minutes = file["signal"][0]
    newest = recording(tmp_path, "newest", minutes[-2880:])
    pieces = rhythm.reader.preprocess(items[0])
    torch.testing.assert_close(
        pieces.tensors["features"], rhythm.reader.preprocess(newest).tensors["features"]
    )
    assert pieces.left_out == len(minutes) // 2880 - 1 + (len(minutes) % 2880 > 0)


def test_each_channel_has_features_of_its_own(tmp_path):
    items = [
        recording(tmp_path, str(n), np.arange(3000) % (7 + n), light=np.arange(3000) % (5 + n))
        for n in range(3)
    ]
    rhythm = Rhythm(min_subjects=1)
    rhythm.build(rhythm.reader.fit(items))
    features = rhythm.reader.preprocess(items[0]).tensors["features"]
    assert features.shape == (1, 2 * len(FEATURES))
    assert not torch.equal(*features.nan_to_num().reshape(2, -1))


def test_transitions_of_a_known_chain_have_its_chances():
    draw = np.random.default_rng(0)
    active = np.zeros(200_000, bool)
    for i in range(1, len(active)):
        active[i] = draw.random() < (0.7 if active[i - 1] else 0.1)
    up, down = transitions(active, np.ones(len(active), bool))
    assert np.exp([up, down]) - 1e-3 == pytest.approx([0.1, 0.3], abs=0.005)


def test_a_pair_with_a_gap_is_no_transition():
    active = np.array([False, True, True, False])
    seen = np.array([True, False, True, True])
    assert np.isnan(transitions(active, seen)[0])
    assert transitions(active, seen)[1] == pytest.approx(np.log(1.001))


def test_autocorrelation_agrees_with_numpy_and_leaves_gaps_out():
    values = np.random.default_rng(0).standard_normal(500).cumsum()
    assert autocorrelation(values, 5) == pytest.approx(np.corrcoef(values[:-5], values[5:])[0, 1])
    holed = values.copy()
    holed[100:120] = np.nan
    pairs = np.isfinite(holed[:-5]) & np.isfinite(holed[5:])
    assert autocorrelation(holed, 5) == pytest.approx(
        np.corrcoef(values[:-5][pairs], values[5:][pairs])[0, 1]
    )
    assert np.isnan(autocorrelation(np.ones(50), 5))


def test_chosen_groups_make_the_width(tmp_path):
    items = RhythmReader.fake(tmp_path, 3, 0)
    part = Rhythm(
        min_subjects=1,
        days=2,
        transform="none",
        features=["rhythm", "fragmentation", "memory"],
        rest=[10],
    )
    part.build(part.reader.fit(items))
    assert part.width == 2 * 11
    assert part.encode(part.reader.preprocess(items[0]).tensors).isfinite().all()
    with pytest.raises(ConfigError, match="'rythm' does not exist; choose among profile"):
        Rhythm(features=["rythm"]).reader.fit(items)


def test_a_probe_chooses_among_groups_at_one_threshold_of_rest(tmp_path):
    draw = np.random.default_rng(1)
    items = [
        recording(
            tmp_path,
            str(n),
            draw.poisson(20 * np.repeat(SINE, 60)),
            light=draw.poisson(9, len(SINE) * 60),
        )
        for n in range(3)
    ]

    def tokens(features, rest):
        rhythm = Rhythm(min_subjects=1, features=features, rest=rest)
        rhythm.build(rhythm.reader.fit(items))
        return rhythm.probe_choices, rhythm.encode(rhythm.reader.preprocess(items[0]).tensors)[0, 0]

    choices, everything = tokens(["level", "fragmentation"], [5, 20])
    assert everything.shape == (2 * 2 * (3 + 2 + 2),)
    expected = [
        tokens(features, rest)[1]
        for features, rest in (
            (["level"], [0]),
            (["fragmentation"], [5]),
            (["level", "fragmentation"], [5]),
            (["fragmentation"], [20]),
            (["level", "fragmentation"], [20]),
        )
    ]
    assert [len(choice) for choice in choices] == [len(part) for part in expected]
    for choice, part in zip(choices, expected, strict=True):
        torch.testing.assert_close(everything[choice].sort().values, part.sort().values)
    assert not torch.equal(everything[choices[1]], everything[choices[3]])


def test_a_feature_of_few_subjects_is_not_standardised(tmp_path):
    """Only the first ten recordings tell their local time; the others have no day's profile."""
    draw = np.random.default_rng(3)
    levels = draw.uniform(0.5, 2, 12)
    items = [
        replace(
            recording(tmp_path, str(n), draw.poisson(np.repeat(100 * SINE * levels[n], 60))),
            subject=n,
        )
        for n in range(12)
    ]
    for item in items[10:]:
        with np.load(item.path) as file:
            kept = {name: file[name] for name in file if name != "start"}
        np.savez(item.path, **kept)
    rhythm = Rhythm()
    found = rhythm.reader.fit(items)
    profile = len(GROUPS["profile"])
    assert set(found["mean"][:profile]) == {0.0}
    assert set(found["std"][:profile]) == {1.0}
    assert all(mean != 0 for mean in found["mean"][profile:-1])
    assert Rhythm(min_subjects=10).reader.fit(items)["mean"][profile:] == found["mean"][profile:]
    assert (
        np.count_nonzero(Rhythm(min_subjects=10).reader.fit(items)["mean"][:profile]) >= profile - 1
    )


def test_a_wild_recording_moves_the_statistics_of_no_feature(tmp_path):
    def item(place, values):
        start = datetime(2020, 1, 1)
        path = tmp_path / f"{place}.npz"
        write_npz(
            path,
            Signal(
                values=np.array([values], np.float32), rate_hz=1 / 3600, channels=["x"], start=start
            ),
        )
        return Item(
            hours=0.0,
            code="W",
            where=f"row {place}",
            time=start + timedelta(days=9),
            path=path,
            subject=place,
        )

    draw = np.random.default_rng(0)
    rows = [draw.gamma(1.0, 100.0, 72) for _ in range(20)]
    clean = [item(place, row) for place, row in enumerate(rows)]
    rhythm = Rhythm(rate_hz=1 / 3600, days=3, min_subjects=1, transform="none", features=["level"])
    found = rhythm.reader.fit([*clean, item(20, [*rows[0][:-1], 1e30])])
    np.testing.assert_allclose(found["mean"][:2], rhythm.reader.fit(clean)["mean"][:2])
    np.testing.assert_allclose(found["std"][:2], rhythm.reader.fit(clean)["std"][:2])
