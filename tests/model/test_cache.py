"""The piece cache: found by content, resumed after a stop, honest about what it could not read."""

from dataclasses import replace

import pytest
import torch

from clintune.contracts import Item
from clintune.core.seeding import seeded
from clintune.modalities.imaging import Imaging
from clintune.model.cache import PieceCache, item_key


@pytest.fixture
def modality():
    modality = Imaging(source="random", config={"architecture": "cnn", "widths": [4]}, size=16, mode="frozen")
    with seeded(0):
        modality.build({})
    return modality.eval()


@pytest.fixture
def items(tmp_path):
    return Imaging.fake(tmp_path / "images", 6, 0)


class StoppedError(Exception):
    pass


def test_cached_tokens_are_the_encoders_own_and_hours_those_of_the_item(modality, items, tmp_path):
    cache = PieceCache(modality, {}, tmp_path / "cache")
    assert cache.fill(modality, [(item, 0) for item in items]) == {}
    for item in items:
        pieces = cache.read(item)
        with torch.no_grad():
            alone = modality.encode(modality.prepare(item).tensors)
        torch.testing.assert_close(pieces.tensors["tokens"], alone)
        assert pieces.hours.tolist() == pytest.approx([item.hours])
    later = replace(items[0], hours=items[0].hours + 5)
    assert cache.read(later).hours.item() == pytest.approx(items[0].hours + 5)


def test_a_renamed_file_is_found_again_and_changed_bytes_are_not(modality, items, tmp_path):
    PieceCache(modality, {}, tmp_path / "cache").fill(modality, [(item, 0) for item in items])
    cache = PieceCache(modality, {}, tmp_path / "cache")
    moved = replace(items[0], path=items[0].path.rename(tmp_path / "other.png"))
    assert item_key(moved, 0) in cache
    moved.path.write_bytes(items[1].path.read_bytes() + b"\0")
    assert item_key(moved, 0) not in cache
    assert item_key(items[1], 0) in cache
    assert item_key(items[1], 1) not in cache


def test_a_fill_that_was_stopped_goes_on_where_it_was(modality, items, tmp_path, monkeypatch):
    monkeypatch.setattr("clintune.model.cache._SHARD_ITEMS", 2)
    prepared, prepare = [], modality.prepare

    def count(item, view=0):
        if len(prepared) == 5:
            raise StoppedError
        prepared.append(item.path)
        return prepare(item, view)

    monkeypatch.setattr(modality, "prepare", count)
    with pytest.raises(StoppedError):
        PieceCache(modality, {}, tmp_path / "cache").fill(modality, [(item, 0) for item in items])
    prepared.clear()
    cache = PieceCache(modality, {}, tmp_path / "cache")
    cache.fill(modality, [(item, 0) for item in items])
    assert prepared == [item.path for item in items[4:]]
    assert all(item_key(item, 0) in cache for item in items)


def test_other_settings_weights_or_statistics_have_a_cache_of_their_own(modality, tmp_path):
    def folder(statistics, **changes):
        for name, value in changes.items():
            setattr(modality, name, value)
        return PieceCache(modality, statistics, tmp_path).folder

    source = {"source": "elsewhere", "sha256": "1"}
    folders = [folder({}), folder({"mean": 1}), folder({}, square="crop"), folder({}, source=source)]
    folders.append(folder({}, source={**source, "sha256": "2"}))
    assert len(set(folders)) == len(folders)


def test_every_unreadable_item_has_its_error_also_the_second_time(modality, items, tmp_path):
    for item in items[:2]:
        item.path.write_bytes(b"")
    items[2].path.unlink()
    cache = PieceCache(modality, {}, tmp_path / "cache")
    for _ in range(2):
        errors = cache.fill(modality, [(item, 0) for item in items])
        assert set(errors) == {item.where for item in items[:3]}
    assert [cache.read(item) is None for item in items] == [True] * 3 + [False] * 3


def test_pieces_that_train_are_cached_before_the_encoder(items, tmp_path):
    modality = Imaging(source="random", config={"architecture": "cnn", "widths": [4]}, size=16, mode="full")
    modality.build({})
    cache = PieceCache(modality, {}, tmp_path)
    cache.fill(modality, [(items[0], 0)])
    assert torch.equal(cache.read(items[0]).tensors["pixels"], modality.prepare(items[0]).tensors["pixels"])


def test_items_that_differ_in_code_value_or_text_are_told_apart():
    item = Item(hours=1.0, code="A", where="row 1", value=1.0, text="x")
    others = [replace(item, code="B"), replace(item, value=2.0), replace(item, text="y")]
    assert len({item_key(part, 0) for part in [item, *others]}) == 4
    assert item_key(replace(item, hours=9.0, where="row 2"), 0) == item_key(item, 0)
