from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pytest
import torch

from clintune.contracts import Item
from clintune.core.errors import ConfigError, DataError
from clintune.modalities.base import collate_pieces
from clintune.modalities.recording import Signal
from clintune.modalities.rhythm import Rhythm
from clintune.modalities.signal_encoders import SignalEncoder
from clintune.modalities.signals import write_npz
from clintune.modalities.wearable import Wearable

START = datetime(2020, 1, 1, 18, 0)
HOURLY = {
    "rate_hz": 1 / 3600,
    "window_hours": 24,
    "patch": 4,
    "width": 32,
    "transform": "none",
    "min_subjects": 1,
}
KINDS = ["patch_transformer", "cnn", "gru"]


@pytest.fixture
def save(tmp_path):
    def save(name="a", start=START, rate_hz=1 / 3600, **channels):
        path = tmp_path / f"{name}.npz"
        values = np.array(list(channels.values()), dtype=np.float32)
        write_npz(
            path, Signal(values=values, rate_hz=rate_hz, channels=list(channels), start=start)
        )
        end = start and start + timedelta(hours=values.shape[1] / (3600 * rate_hz))
        return Item(hours=10.0, code="WEARABLE", where=f"row {name}", time=end, path=path)

    return save


def build(items, **settings):
    wearable = Wearable(**{**HOURLY, **settings})
    wearable.build(wearable.reader.fit(items))
    return wearable.eval()


def test_statistics_are_those_of_the_observed_samples(save):
    items = [save("a", x=[1, 2, np.nan], y=[0, 0, 0]), save("b", x=[6, 3, np.nan])]
    found = Wearable(**HOURLY).reader.fit(items)
    assert found["channels"] == ["x", "y"]
    np.testing.assert_allclose(found["mean"], [3, 0])
    np.testing.assert_allclose(found["std"], [np.std([1, 2, 6, 3]), 1])
    logged = Wearable(**{**HOURLY, "transform": "log1p"}).reader.fit(
        [save("c", x=[-1, 1, np.e - 1, 0])]
    )
    np.testing.assert_allclose(logged["mean"], [0.25], atol=1e-6)


def test_windows_are_cut_and_count_hours_from_their_end(save):
    item = save(x=np.arange(60.0))
    pieces = build([item], max_pieces=2).reader.preprocess(item)
    assert pieces.hours.tolist() == [34.0, 10.0]
    assert pieces.left_out == 1
    standard = (np.arange(60) - np.arange(60).mean()) / np.arange(60).std()
    np.testing.assert_allclose(pieces.tensors["signal"].flatten(), standard[12:], rtol=1e-5)
    whole = build([item]).reader.preprocess(item)
    assert whole.hours.tolist() == [58.0, 34.0, 10.0]
    assert whole.left_out == 0
    assert whole.tensors["observed"].sum((1, 2)).tolist() == [12, 24, 24]
    assert not whole.tensors["observed"][0, 0, :12].any()


def test_a_gap_is_zero_and_masked_and_changes_nothing_beside_it(save):
    values = np.random.default_rng(0).normal(5, 2, 24)
    train, full = save("train", x=values), save("full", x=values)
    holes = values.copy()
    holes[[3, 7, 8]] = np.nan
    wearable = build([train])
    whole, gapped = (
        wearable.reader.preprocess(full).tensors,
        wearable.reader.preprocess(save("gap", x=holes)).tensors,
    )
    expected = whole["signal"].clone()
    expected[..., [3, 7, 8]] = 0
    torch.testing.assert_close(gapped["signal"], expected)
    assert torch.equal(gapped["observed"] == 0, expected == 0)
    assert torch.equal(gapped["clock"], whole["clock"])


@pytest.mark.parametrize("kind", KINDS)
def test_patches_that_are_gaps_change_nothing(save, kind):
    values = np.random.default_rng(0).normal(5, 2, 24)
    wearable = build([save("train", x=values)], encoder=kind)
    values[8:16] = np.nan
    tensors = dict(wearable.reader.preprocess(save("gap", x=values)).tensors)
    with torch.no_grad():
        token = wearable.encode(tensors)
        tensors["clock"] = tensors["clock"].clone()
        tensors["clock"][..., 8:16] = 9.0
        torch.testing.assert_close(wearable.encode(tensors), token)
        tensors["clock"][..., 0] = 9.0
        assert not torch.allclose(wearable.encode(tensors), token)


def test_the_clock_is_that_of_the_window_and_zero_where_unknown(save):
    item = save(x=np.ones(30))
    clock = build([item]).reader.preprocess(item).tensors["clock"]
    hours = (18 + 6 + np.arange(24)) % 24 * 2 * np.pi / 24
    np.testing.assert_allclose(clock[1], [np.sin(hours), np.cos(hours)], atol=1e-5)
    unknown = save("b", start=None, x=np.ones(30))
    assert not build([item]).reader.preprocess(unknown).tensors["clock"].any()


def test_channels_are_those_of_training_or_those_listed(save):
    train, other = save("a", x=[1.0, 2], y=[1.0, 5]), save("b", y=[1.0, 5], z=[0.0, 1])
    wearable = build([train])
    with pytest.raises(
        DataError, match="row b: has a channel that fewer than 1 training subjects have"
    ):
        wearable.reader.preprocess(other)
    assert not wearable.reader.preprocess(save("c", y=[1.0, 5])).tensors["observed"][:, 0].any()
    listed = build([train], channels=["y"])
    assert listed.reader.preprocess(other).tensors["signal"].shape == (1, 1, 24)
    with pytest.raises(DataError, match="row d: the recording, of 1 channels, has no sample of y"):
        listed.reader.preprocess(save("d", x=[1.0, 2]))


def test_unreadable_recordings_stop_nothing_unless_all_are(save):
    good, bad = save("good", x=[1.0, 3]), Item(hours=0, code="", where="row bad")
    assert Wearable(**HOURLY).reader.fit([bad, good]) == Wearable(**HOURLY).reader.fit([good])
    with pytest.raises(DataError, match="row bad"):
        Wearable(**HOURLY).reader.fit([bad])


@pytest.mark.parametrize("kind", KINDS)
def test_minutes_at_250_hz_and_weeks_by_the_minute_both_work(save, kind):
    second = np.arange(250 * 60) / 250
    ecg = save("ecg", rate_hz=250.0, ii=np.sin(7 * second), v=np.cos(7 * second))
    fast = build([ecg], encoder=kind, rate_hz=125.0, window_hours=10 / 3600, patch=25, max_pieces=4)
    pieces = fast.reader.preprocess(ecg)
    assert pieces.tensors["signal"].shape == (4, 2, 1250)
    np.testing.assert_allclose(pieces.hours - 10, np.array([30, 20, 10, 0]) / 3600, atol=1e-5)
    weeks = save("weeks", rate_hz=1 / 60, activity=np.random.default_rng(0).poisson(50, 20 * 1440))
    slow = build([weeks], encoder=kind, rate_hz=1 / 60, patch=60, tokens=2, transform="log1p")
    with torch.no_grad():
        tokens = slow.encode(slow.reader.preprocess(weeks).tensors)
    assert tokens.shape == (14, 2, 32)
    assert tokens.isfinite().all()


@pytest.mark.parametrize("kind", KINDS)
def test_every_part_of_an_encoder_trains(save, kind):
    item = save(
        x=np.random.default_rng(0).normal(size=48), y=np.random.default_rng(1).normal(size=48)
    )
    wearable = build([item], encoder=kind, tokens=2).train()
    wearable.encode(wearable.reader.preprocess(item).tensors).square().sum().backward()
    assert [
        name
        for name, part in wearable.named_parameters()
        if part.grad is None or not part.grad.any()
    ] == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tokens", [1, 2, 5])
def test_tokens_are_equal_stretches_and_one_of_gaps_is_zero(kind, tokens):
    encoder = SignalEncoder(
        kind, inputs=4, length=95, patch=10, width=32, depth=1, tokens=tokens
    ).eval()
    signal, observed = torch.randn(3, 4, 95), torch.ones(3, 1, 95)
    observed[1, :, :50] = 0
    observed[2] = 0
    with torch.no_grad():
        found = encoder(signal, observed)
    assert found.shape == (3, tokens, 32)
    assert found.isfinite().all()
    assert not found[2].any()
    assert found[0].any(-1).all()
    if tokens > 1:
        assert not found[1, 0].any()
        assert found[1, -1].any()


def test_a_patch_longer_than_the_window_is_refused(save):
    with pytest.raises(ConfigError, match="patch 30 does not fit a window of 24 samples"):
        build([save(x=[1.0, 2])], patch=30)


def test_hours_are_those_of_the_row_shifted_by_the_windows(save):
    item = save(x=np.arange(60.0))
    wearable = build([item])
    first, second = (wearable.reader.preprocess(replace(item, hours=hours)) for hours in (0.0, 7.0))
    torch.testing.assert_close(first.hours + 7, second.hours)
    assert collate_pieces([first, second])["signal"].shape == (6, 1, 24)


@pytest.mark.parametrize("channels", [None, ["x", "y", "z"]])
def test_channels_of_few_subjects_are_neither_named_nor_used(save, channels):
    items = [
        replace(save("a", x=[1, 2], y=[5, 6], z=[np.nan, np.nan]), subject=s) for s in range(10)
    ]
    items += [replace(save("b", x=[3, 4], y=[np.nan, np.nan]), subject=10)] * 5
    wearable = Wearable(**{**HOURLY, "min_subjects": 11}, channels=channels)
    found = wearable.reader.fit(items)
    assert found["channels"] == (["x"] if channels is None else channels)
    assert (found["min_subjects"], found["num_rare"]) == (11, 2)
    np.testing.assert_allclose(
        found["mean"], [np.mean([1, 2] * 10 + [3, 4] * 5), 0, 0][: len(found["mean"])]
    )
    assert found["std"][1:] == [1, 1][: len(found["std"]) - 1]
    assert wearable.reader.remarks(found)[-1].startswith(
        "fewer than 11 training subjects have 2 of the channels; "
    )
    wearable.build(found)
    if channels is None:
        with pytest.raises(
            DataError,
            match=r"^row a: has a channel that fewer than 11 training subjects have; [^yz]*$",
        ):
            wearable.reader.preprocess(items[0])


@pytest.mark.parametrize(("num_subjects", "told"), [(11, "posture"), (10, "of few subjects")])
def test_columns_without_numbers_are_named_if_many_have_them(tmp_path, capsys, num_subjects, told):
    path = tmp_path / "a.csv"
    path.write_text("time,hr,posture\n2020-01-01T00:00,60,lying\n2020-01-01T01:00,61,sitting\n")
    end = datetime(2020, 1, 1, 2)
    items = [
        Item(hours=0.0, code="W", where="row 1", time=end, path=path, subject=number)
        for number in range(num_subjects)
    ]
    assert Wearable(**HOURLY).reader.fit(items)["channels"] == ["hr"]
    assert f"columns without numbers are not read: {told}" in capsys.readouterr().err


@pytest.mark.parametrize("wrong", [[1e30], [1e6], [3e38, -3e38], [1e30] * 50])
def test_wild_values_of_one_recording_move_no_statistics(save, wrong):
    draw = np.random.default_rng(0)
    rows = [draw.normal(80, 10, 200).astype(np.float32) for _ in range(12)]
    clean = [save(f"clean {place}", x=row) for place, row in enumerate(rows)]
    wild = [*clean[:-1], save("wild", x=[*rows[-1], *wrong])]
    found = Wearable(**HOURLY).reader.fit(wild)
    everything = np.concatenate(rows).astype(np.float64)
    np.testing.assert_allclose(
        [found["mean"], found["std"]], [[everything.mean()], [everything.std()]], rtol=1e-6
    )


@pytest.mark.parametrize(
    "values",
    [
        np.random.default_rng(0).poisson(300, 5000) * (np.random.default_rng(1).random(5000) < 0.3),
        np.random.default_rng(0).poisson(300, 5000)
        * (np.random.default_rng(1).random(5000) < 0.01),
        np.random.default_rng(0).lognormal(0, 2, 5000),
        np.random.default_rng(0).standard_cauchy(500),
        [0.0] * 99 + [1e6],
        [98.6] * 50,
    ],
)
def test_skewed_and_resting_channels_keep_all_their_values(save, values):
    found = Wearable(**HOURLY).reader.fit([save("a", x=values)])
    values = np.asarray(values, np.float32).astype(np.float64)
    np.testing.assert_allclose(
        [found["mean"], found["std"]], [[values.mean()], [values.std() or 1]], rtol=1e-6
    )


@pytest.mark.parametrize("transform", ["none", "log1p"])
def test_an_enormous_value_gives_finite_tokens(save, transform):
    wearable = build(
        [save("train", x=np.random.default_rng(0).normal(0, 1, 48))], transform=transform
    )
    pieces = wearable.reader.preprocess(save("wild", x=[3e38, -3e38, *range(22)]))
    assert pieces.tensors["signal"].abs().max() <= 100
    assert pieces.tensors["observed"].all()
    with torch.no_grad():
        assert wearable.encode(pieces.tensors).isfinite().all()


@pytest.mark.parametrize("kind", [Wearable, Rhythm])
def test_what_comes_after_the_prediction_names_no_channel(save, kind):
    more = HOURLY if kind is Wearable else {"rate_hz": 1 / 3600, "min_subjects": 1}
    modality = kind(**more)
    train = save("train", x=np.arange(48.0))
    modality.build(modality.reader.fit([train]))
    later = replace(save("later", other=np.arange(48.0)), time=START, hours=-1.0)
    assert len(modality.reader.preprocess(later)) == 0
    with pytest.raises(
        DataError, match="no training recording has a sample by its prediction time"
    ):
        kind(**more).reader.fit([later])


def test_the_channels_of_one_recording_are_counted_and_not_named(save):
    wearable = Wearable(**HOURLY, channels=["hr"])
    with pytest.raises(DataError, match="of 2 channels, has no sample of hr; ") as caught:
        wearable.reader.read(save("a", secret=[1, 2], hidden=[3, 4]), ["hr"])
    assert "secret" not in str(caught.value)
