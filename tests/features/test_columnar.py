"""Rows as columns: the chunks hold every training row once, those of a subject in one chunk."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clintune.cohort.shards import NUMBER
from clintune.experiment.limits import measure
from clintune.features import columnar
from clintune.features.batching import Batches, BatchSpec
from clintune.modalities.event_reader import EventReader
from clintune.modalities.events import Events
from clintune.modalities.static import Static
from clintune.model.build import fit_statistics
from helpers.opened_samples import open_samples


@pytest.fixture(scope="module")
def samples(quickstart, tmp_path_factory):
    folder = tmp_path_factory.mktemp("columns")
    modalities = {"static": Static(codes=["AGE"]), "events": Events(max_pieces=2)}
    return open_samples([quickstart], modalities, folder / "cache"), modalities, folder


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 39), min_size=1, max_size=60), st.integers(1, 200))
def test_chunks_hold_what_the_samples_see_once(samples, rows, together):
    opened, _, _ = samples
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(columnar, "_TOGETHER", together)
        chunks = list(columnar.TrainingRows(opened, "static", np.array(rows)))
    items = opened.items("static", np.array(rows))
    assert sum(map(len, chunks)) == len(items)
    subjects = [set(chunk.owner.tolist()) for chunk in chunks]
    assert sum(map(len, subjects)) == len(set().union(*subjects))
    assert np.concatenate([chunk.hours for chunk in chunks]).tolist() == items.hours.tolist()
    expected = opened.column("static", NUMBER, items.numbers)
    np.testing.assert_array_equal(np.concatenate([chunk.value for chunk in chunks]), expected)


def test_statistics_of_columns_are_remembered(samples):
    opened, modalities, folder = samples
    rows = np.arange(30)
    first = fit_statistics(modalities, opened, rows, folder / "cache")
    files = sorted((folder / "cache" / "statistics").glob("*.json"))
    assert fit_statistics(modalities, opened, rows, folder / "cache") == first
    assert sorted((folder / "cache" / "statistics").glob("*.json")) == files
    assert (
        fit_statistics({"events": Events(min_subjects=2)}, opened, rows, folder / "cache") != first
    )


def test_a_sample_without_events_is_filled_with_one_blank(samples):
    opened, modalities, folder = samples
    for name, found in fit_statistics(modalities, opened, np.arange(30), folder / "cache").items():
        modalities[name].build(found)
    sources = {name: columnar.columnar(opened, name, part) for name, part in modalities.items()}
    rows = np.arange(len(opened))
    batch = Batches(opened, modalities, sources, zero_fill=True)[BatchSpec(rows=rows)]
    seen = opened.num_items("events")
    counts = np.bincount(batch.pieces["events"].owner, minlength=len(rows))
    assert (counts[seen == 0] == 1).all()
    assert (counts[seen > 0] >= np.minimum(seen[seen > 0], 2)).all()
    assert pl.Series(counts).max() > 1


class Visits(EventReader):
    """A reader for which rows of one moment are one piece."""

    def num_pieces(self, rows, num_samples):
        visits = pl.DataFrame({"owner": rows.owner, "hours": rows.hours}).unique()
        return np.bincount(visits["owner"].to_numpy(), minlength=num_samples)


def test_what_a_budget_leaves_out_is_counted_as_the_reader_says(samples):
    opened, modalities, folder = samples
    rows = np.arange(len(opened))
    for name, found in fit_statistics(modalities, opened, rows, folder / "cache").items():
        modalities[name].build(found)
    events, codes = modalities["events"], opened.codes().to_list()
    visits = Visits(max_pieces=2, min_subjects=11)
    visits.open({"codes": {}, "prefixes": []})

    parts = {}
    for name, reader in {"rows": events.reader, "visits": visits}.items():
        source = columnar.ColumnarPieces(opened, "events", reader.numbered(codes))
        limits = measure(opened, rows, {"events": events}, {"events": source}, 512)
        parts[name] = limits.parts["events"]

    seen = opened.seen("events", rows)
    pairs = set(zip(seen.owner.tolist(), seen.hours.tolist(), strict=True))
    counts = np.bincount([owner for owner, _ in pairs])
    assert parts["rows"].pieces == len(seen.number) > len(pairs)
    assert parts["visits"].pieces == len(pairs)
    assert parts["visits"].samples_cut == (counts > 2).sum() < parts["rows"].samples_cut
