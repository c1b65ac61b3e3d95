"""Pieces in memory are those of the cache, bit for bit, whoever prepares them."""

import numpy as np
import pytest
import torch

from clintune.cohort.index import VisibleItems
from clintune.features.cache import PieceCache
from clintune.features.known import KnownPieces
from clintune.features.preprocess import PreprocessWorkers, hold_pieces
from helpers.opened_samples import open_samples, small_imaging

CPU = torch.device("cpu")


KINDS = {
    "frozen": small_imaging,
    "augmented": lambda: small_imaging(views=2),
    "trained": lambda: small_imaging(mode="full", views=2),
}


@pytest.fixture
def hold(cohort, tmp_path):
    """Return a function that opens a cohort's images: the images, their pieces, the errors."""

    def hold(modality, workers=0):
        samples = open_samples([cohort], {"imaging": modality}, tmp_path / "cache")
        items = samples.items("imaging", np.arange(len(samples)))
        return items, *hold_pieces(
            PreprocessWorkers(samples, "imaging", modality.reader, workers),
            items,
            modality,
            modality.reader.views,
            "fp32",
            CPU,
        )

    return hold


def everything(source, items, view):
    """Return the pieces of all items, asked for in another order than they were made in."""
    numbers = items.numbers[::-1].copy()
    seen = VisibleItems(numbers, np.arange(len(numbers)) / 7, np.arange(len(numbers)))
    views = np.full(len(numbers), view)
    return source.read(seen, views, 10**6)


@pytest.mark.parametrize("kind", KINDS)
def test_held_pieces_are_those_of_the_cache_bit_for_bit(hold, tmp_path, kind):
    modality = KINDS[kind]()
    items, held, errors = hold(modality)
    stored = PieceCache("imaging", modality, {}, tmp_path / "cache").fill(items)
    assert errors == {}
    for view in range(modality.reader.views):
        mine, theirs = (everything(source, items, view) for source in (held, stored))
        assert mine.tensors.keys() == theirs.tensors.keys()
        assert all(torch.equal(mine.tensors[name], theirs.tensors[name]) for name in mine.tensors)
        assert torch.equal(mine.hours, theirs.hours)
        assert torch.equal(mine.owner, theirs.owner)
        if mine.encoded is not None:
            assert torch.equal(mine.encoded, theirs.encoded)


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_cache_knows_is_not_prepared_again(hold, tmp_path, kind):
    modality = KINDS[kind]()
    items, held, _ = hold(modality)
    cached = PieceCache("imaging", modality, {}, tmp_path / "cache")
    assert KnownPieces(cached, tmp_path / "memory").of(items, modality.reader.views).places == {}
    cached.fill(items[: len(items) // 2])
    known = KnownPieces(cached, tmp_path / "memory").of(items, modality.reader.views)
    asked = []

    def preprocess(todo):
        asked.extend(todo)
        return PreprocessWorkers(items.samples, "imaging", modality.reader)(todo)

    again, _ = hold_pieces(preprocess, items, modality, modality.reader.views, "fp32", CPU, known)
    half = set(items.numbers[: len(items) // 2].tolist())
    assert {view.number for view in asked} == set(items.numbers.tolist()) - half
    for view in range(modality.reader.views):
        mine, theirs = (everything(source, items, view) for source in (again, held))
        assert all(torch.equal(mine.tensors[name], theirs.tensors[name]) for name in theirs.tensors)
        assert torch.equal(mine.hours, theirs.hours)


def test_what_cannot_be_read_has_no_pieces_and_its_reason(hold, cohort):
    modality = small_imaging()
    items = list(hold(modality)[0])
    items[3].path.unlink()
    again, held, errors = hold(modality)
    assert errors.keys() == {items[3].number}
    assert items[3].where in str(errors[items[3].number])
    lengths = held.lengths(again.numbers, np.zeros(len(again), int))
    assert dict(zip(again.numbers.tolist(), lengths.tolist(), strict=True)) == {
        item.number: int(item is not items[3]) for item in items
    }


def test_a_worker_prepares_the_same_and_stays_for_the_next_items(hold, cohort, tmp_path):
    modality = small_imaging()
    items, held, _ = hold(modality)
    preprocess = PreprocessWorkers(items.samples, "imaging", modality.reader, workers=1)
    for part in (items[:5], items[5:]):
        again, _ = hold_pieces(preprocess, part, modality, 1, "fp32", CPU)
        torch.testing.assert_close(
            everything(again, part, 0).tensors, everything(held, part, 0).tensors
        )
    workers = preprocess._loader._iterator._workers
    assert [worker.is_alive() for worker in workers] == [True]
