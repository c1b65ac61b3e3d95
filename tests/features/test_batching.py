"""Batches against a plain reading of the contract, sample by sample and item by item."""

import pickle
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
import torch
from torch.utils.data import DataLoader

from clintune.core.seeding import generator
from clintune.features.batching import Batches, BatchSpec, num_tokens
from clintune.features.cache import PieceCache
from clintune.features.columnar import columnar
from clintune.modalities.notes import Notes
from clintune.modalities.static import Static
from helpers.opened_samples import open_samples, small_imaging

TEXT = {
    "source": "random",
    "tokenizer": "bundled:minilm",
    "chunk_tokens": 16,
    "max_pieces": 3,
    "mode": "full",
}
BERT = {
    "model_type": "bert",
    "vocab_size": 30522,
    "hidden_size": 4,
    "num_hidden_layers": 1,
    "num_attention_heads": 1,
}


@pytest.fixture(scope="module")
def parts(quickstart, tmp_path_factory):
    """Return samples of two cohorts, the second with three times a subject, and modalities."""
    folder = tmp_path_factory.mktemp("batches")
    second = shutil.copytree(quickstart, folder / "second")
    labels = pl.read_parquet(second / "labels" / "deterioration.parquet")
    later = [
        labels.with_columns(pl.col("prediction_time").dt.offset_by(by))
        for by in ("0d", "-1d", "300d")
    ]
    pl.concat(later).write_parquet(second / "labels" / "deterioration.parquet")
    for shard in sorted((second / "data").glob("*.parquet")):
        table = pl.read_parquet(shard)
        older = table.filter(pl.col("time").is_not_null(), pl.col("image_path").is_null())
        again = older.with_columns(
            pl.col("time").dt.offset_by("-30h"), numeric_value=pl.lit(3.5, pl.Float32)
        )
        pl.concat([table, again]).write_parquet(shard)
    modalities = {
        "notes": Notes(
            **TEXT, config={**BERT, "intermediate_size": 4, "max_position_embeddings": 64}
        ),
        "imaging": small_imaging(views=3, max_pieces=2),
        "static": Static(codes=["AGE", "NOTE//"], max_pieces=3),
    }
    samples = open_samples([quickstart, second], modalities, folder / "cache")
    rows = np.arange(len(samples))
    modalities["notes"].build({})
    modalities["static"].build(
        modalities["static"].reader.fit_items(samples.items("static", rows[:40]))
    )
    sources = {
        name: PieceCache(name, modalities[name], {}, folder / "cache").fill(
            samples.items(name, rows)
        )
        for name in ("notes", "imaging")
    }
    sources["static"] = columnar(samples, "static", modalities["static"])
    return samples, modalities, sources


def sample_of(samples, row):
    cohort = int(row >= len(samples.indexes[0]))
    index, local = samples.indexes[cohort], int(row - samples.first[cohort])
    return SimpleNamespace(
        key=f"{index.name}#{local}",
        items={name: items_of(index, local, name) for name in index.modalities},
        targets={task: index.targets(task)[local] for task in index.widths},
    )


def items_of(index, row, name):
    return list(index.rows[name].read(*index.seen(name, np.array([row]))[:2]))


def expected_pieces(modality, name, items, view):
    """Return (hours, tensors) of the pieces within the budget, the newest items first."""
    if name == "static":
        items = [
            item
            for number, item in enumerate(items)
            if item.code not in {i.code for i in items[number + 1 :]}
        ]
    kept, budget = [], modality.reader.max_pieces
    for item in reversed(items):
        pieces = (
            modality.reader.preprocess_items([item], [0])
            if name == "static"
            else modality.reader.preprocess(replace(item, hours=0.0), view)
        )
        if name == "imaging":
            with torch.no_grad():
                pieces = replace(pieces, tensors={}, encoded=modality.encode(pieces.tensors))
        hours = (pieces.hours + (item.hours if name != "static" else 0)).tolist()
        newest = sorted(sorted(range(len(hours)), key=lambda number: hours[number])[:budget])
        budget -= len(newest)
        kept.insert(
            0, [(hours[n], {key: part[n] for key, part in pieces.tensors.items()}) for n in newest]
        )
    return [piece for part in kept for piece in part]


def expected_names(modalities, sample, row, draw, dropout):
    present = [name for name in modalities if sample.items[name]]
    if draw.epoch is None or not dropout:
        return present
    chances = torch.rand(
        len(present), generator=generator(draw.seed, "modality_dropout", draw.epoch, int(row))
    )
    stay = [
        name for name, chance in zip(present, chances.tolist(), strict=True) if chance >= dropout
    ]
    return stay or [present[int(chances.argmax())]]


@pytest.mark.parametrize(
    ("draw", "dropout"),
    [
        (BatchSpec(rows=[3, 50, 41, 119, 0, 90, 51, 7], epoch=2, seed=5), 0.6),
        (BatchSpec(rows=[1, 2, 3, 4], epoch=0, seed=1), 0.0),
        (BatchSpec(rows=[159, 44, 80], view=2), 0.6),
        (BatchSpec(rows=[100]), 0.0),
    ],
)
def test_a_batch_holds_the_newest_pieces_of_each_sample(parts, draw, dropout):
    samples, modalities, sources = parts
    batch = Batches(samples, modalities, sources, dropout)[draw]
    drawn = [sample_of(samples, row) for row in draw.rows]
    assert batch.keys == [sample.key for sample in drawn]
    targets = np.stack([sample.targets["outcome"] for sample in drawn])
    np.testing.assert_array_equal(batch.targets["outcome"].numpy(), targets)
    for name, modality in modalities.items():
        owners, pieces = [], []
        for owner, (sample, row) in enumerate(zip(drawn, draw.rows, strict=True)):
            view = min(draw.view, modality.reader.views - 1)
            if draw.epoch is not None and modality.reader.views > 1:
                chance = generator(draw.seed, "view", name, draw.epoch, row)
                view = int(torch.randint(modality.reader.views, (), generator=chance))
            if name in expected_names(modalities, sample, row, draw, dropout):
                found = expected_pieces(modality, name, sample.items[name], view)
                owners += [owner] * len(found)
                pieces += found
        assert (name in batch.pieces) == bool(pieces)
        if not pieces:
            continue
        part = batch.pieces[name]
        assert part.owner.tolist() == owners
        np.testing.assert_allclose(part.hours.numpy(), [hours for hours, _ in pieces], rtol=1e-6)
        for key, tensor in part.tensors.items():
            for row, (_, tensors) in zip(tensor, pieces, strict=True):
                region = row[tuple(slice(size) for size in tensors[key].shape)]
                torch.testing.assert_close(region, tensors[key])
                assert row.count_nonzero() == region.count_nonzero()


def test_the_cases_are_hard_enough(parts):
    samples, modalities, _ = parts
    drawn = [sample_of(samples, row) for row in range(len(samples))]
    assert any(
        len(sample.items["static"]) > len({item.code for item in sample.items["static"]})
        for sample in drawn
    )
    assert any(not sample.items["imaging"] for sample in drawn)
    notes = [
        [len(modalities["notes"].reader.preprocess(item)) for item in sample.items["notes"]]
        for sample in drawn
    ]
    assert any(len(each) > 1 and sum(each) > 3 for each in notes)


def test_tokens_are_counted_as_batches_bring_them(parts):
    samples, modalities, sources = parts
    rows = list(range(len(samples)))
    batch = Batches(samples, modalities, sources)[BatchSpec(rows=rows)]
    counted = sum(
        np.bincount(batch.pieces[name].owner.numpy(), minlength=len(rows))
        * modality.tokens_per_piece
        for name, modality in modalities.items()
    )
    assert num_tokens(samples, modalities, sources).tolist() == counted.tolist()


def test_batches_travel_light_and_read_the_same_in_a_worker(parts):
    samples, modalities, sources = parts
    draws = [BatchSpec(rows=[number, number + 60], epoch=1) for number in range(4)]
    batches = Batches(samples, modalities, sources, 0.3)
    assert len(pickle.dumps(batches)) < 20_000
    copy = pickle.loads(pickle.dumps(batches))
    loader = DataLoader(batches, sampler=draws, batch_size=None, num_workers=1)
    for here, there, other in zip(
        map(batches.__getitem__, draws), loader, map(copy.__getitem__, draws), strict=True
    ):
        for found in (there, other):
            assert found.pieces.keys() == here.pieces.keys()
            for name, part in here.pieces.items():
                assert torch.equal(part.hours, found.pieces[name].hours)
                assert all(
                    torch.equal(part.tensors[key], found.pieces[name].tensors[key])
                    for key in part.tensors
                )


def test_zeros_stand_for_a_modality_that_a_sample_lacks(
    parts,
):
    samples, modalities, sources = parts
    rows = list(range(len(samples)))
    plain = Batches(samples, modalities, sources)[BatchSpec(rows=rows)]
    filled = Batches(samples, modalities, sources, zero_fill=True)[BatchSpec(rows=rows)]
    for name, part in filled.pieces.items():
        before = plain.pieces[name]
        lacking = sorted(set(rows) - set(before.owner.tolist()))
        number = len(before.owner)
        assert part.owner.tolist() == [*before.owner.tolist(), *lacking]
        assert not part.hours[number:].any()
        for key, tensor in part.tensors.items():
            torch.testing.assert_close(tensor[:number], before.tensors[key])
            assert not tensor[number:].any()
    assert any(
        len(filled.pieces[name].owner) > len(plain.pieces[name].owner) for name in modalities
    )


def test_a_batch_of_nothing_but_zeros_has_the_shapes_of_others(parts):
    samples, modalities, sources = parts
    seen = {name: samples.num_items(name) for name in modalities}
    name = next(name for name in modalities if (seen[name] == 0).any())
    row = int(np.flatnonzero(seen[name] == 0)[0])
    filled = Batches(samples, modalities, sources, zero_fill=True)[BatchSpec(rows=[row])].pieces[
        name
    ]
    other = Batches(samples, modalities, sources)[
        BatchSpec(rows=[int(np.argmax(seen[name]))])
    ].pieces[name]
    assert filled.owner.tolist() == [0]
    assert {key: tensor.shape[2:] for key, tensor in filled.tensors.items()} == {
        key: tensor.shape[2:] for key, tensor in other.tensors.items()
    }
