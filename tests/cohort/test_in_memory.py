"""Rows in memory give the items and hours of an index on disk, none after a prediction time."""

import math
import pickle
import tempfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clintune.cohort.build import RowSelection
from clintune.cohort.in_memory import InMemory
from clintune.cohort.shards import ROW, typed
from clintune.core.errors import DataError
from helpers.cohort_samples import EVENTS, T0, Reader, at, items_of, labels, open_index, write_shard

ROWS = st.lists(
    st.tuples(
        st.integers(1, 4),
        st.none() | st.integers(-200, 200),
        st.sampled_from(["a//x", "a//y", "b//x"]),
    ),
    min_size=1,
    max_size=30,
)
KEYS = st.sets(st.tuples(st.integers(1, 4), st.integers(-150, 250)), min_size=1, max_size=8)
READERS = {"a": Reader("a//"), "b": Reader("b//"), "none": Reader("z")}


def table(rows, **columns):
    subjects, minutes, codes, values = map(list, zip(*rows, strict=True))
    events = pl.DataFrame(
        [subjects, [at(minute) for minute in minutes], codes, values], schema=EVENTS
    )
    return events.with_columns(
        **{name: pl.Series(cells, dtype=pl.String) for name, cells in columns.items()}
    )


def hold(events, keys, readers=READERS, **options):
    """Return the samples of rows in memory at (subject, minute) keys."""
    samples = labels(*((*key, []) for key in keys)).drop("target")
    row_filter = {
        name: RowSelection(reader.row_filter(), reader.media_column)
        for name, reader in readers.items()
    }
    scan = typed(events.lazy().with_row_index(ROW), "events", options.get("media", []))
    settings = {"root": Path("/"), "has_zone": False, "media": [], **options}
    return InMemory("events", scan, samples, row_filter, **settings)


def plain(source, row, name):
    return [(item.code, item.value, item.hours, item.time) for item in items_of(source, row, name)]


@settings(max_examples=40, deadline=None)
@given(ROWS, KEYS, st.sampled_from([None, 0, 0.5]))
def test_memory_and_disk_show_each_sample_the_same(rows, keys, lookback):
    keys = [key for key in sorted(keys) if key[0] in {row[0] for row in rows}]
    if not keys:
        return
    numbered = [(*row, float(number)) for number, row in enumerate(rows)]
    held = hold(table(numbered), keys, lookback_hours=lookback)
    with tempfile.TemporaryDirectory() as folder:
        write_shard(Path(folder) / "data/0.parquet", numbered)
        stored = open_index(
            Path(folder), {"task": labels(*((*key, [1.0]) for key in keys))}, READERS, lookback
        )

        assert held.subject_ids.tolist() == stored.subject_ids.tolist()
        assert held.prediction_times.tolist() == stored.prediction_times.tolist()
        for name in READERS:
            for row in range(len(keys)):
                assert plain(held, row, name) == plain(stored, row, name)
            for one, other in zip(
                *(s.each_item_once(name, np.arange(len(keys))) for s in (held, stored)), strict=True
            ):
                assert np.array_equal(one, other)


@settings(max_examples=100, deadline=None)
@given(ROWS, KEYS, st.integers(0, 2**32))
def test_no_later_row_reaches_a_sample(rows, keys, seed):
    keys = [key for key in sorted(keys) if key[0] in {row[0] for row in rows}]
    if not keys:
        return
    order = np.random.default_rng(seed).permutation(len(rows)).tolist()
    held = hold(table([(*rows[number], float(number)) for number in order]), keys)
    for sample, (subject, minute) in enumerate(keys):
        for name, reader in READERS.items():
            known = sorted(
                -math.inf if when is None else when
                for owner, when, code in rows
                if owner == subject
                and code.startswith(reader.prefix)
                and (when is None or when <= minute)
            )
            found = items_of(held, sample, name)
            assert len(found) == len(known)
            assert all(item.time is None or item.time <= at(minute) for item in found)


def test_a_row_a_microsecond_late_is_not_seen():
    events = pl.DataFrame({"subject_id": [1, 1], "time": [T0, T0], "code": ["a//now", "a//late"]})
    events = events.with_columns(pl.col("time") + pl.Series([0, 1]).cast(pl.Duration("us")))
    assert [item.code for item in items_of(hold(events, [(1, 0)]), 0, "a")] == ["a//now"]


def test_a_nanosecond_late_is_late():
    late = pl.Series([T0]).cast(pl.Datetime("ns")) + pl.Series([1]).cast(pl.Duration("ns"))
    events = pl.DataFrame({"subject_id": [1], "time": late, "code": ["a//late"]})
    assert items_of(hold(events, [(1, 0)]), 0, "a") == []


def test_a_pickled_source_reads_the_same():
    held = hold(table([(1, 0, "a//x", 1.0), (1, None, "b//x", None)]), [(1, 5)])
    again = pickle.loads(pickle.dumps(held))
    assert [plain(again, 0, name) for name in READERS] == [plain(held, 0, name) for name in READERS]


def test_subjects_without_a_row_are_counted():
    with pytest.raises(
        DataError, match="events: hold no row of 2 of the 3 subjects to predict for"
    ):
        hold(table([(1, 0, "a//x", 1.0)]), [(1, 0), (2, 0), (3, 0)])


def test_media_stand_below_the_root_or_anywhere(tmp_path):
    events = table([(1, 0, "I", None), (1, 1, "I", None)], image_path=["x.png", "/away/y.png"])
    readers, options = {"i": Reader("I", "image_path")}, {"media": ["image_path"], "root": tmp_path}
    with pytest.raises(
        DataError, match="events: row 1: column image_path leaves the cohort's folder"
    ):
        hold(events, [(1, 5)], readers, **options)
    anywhere = hold(events, [(1, 5)], readers, media_anywhere=True, **options)
    assert [item.path for item in items_of(anywhere, 0, "i")] == [
        tmp_path / "x.png",
        Path("/away/y.png"),
    ]


def test_without_the_media_column_nobody_has_it():
    held = hold(table([(1, 0, "I", None)]), [(1, 5)], {"i": Reader("I", "image_path")})
    assert held.num_items("i").tolist() == [0]


def test_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    hold(table([(1, 0, "a//x", 1.0)]), [(1, 0)])
    assert list(tmp_path.rglob("*")) == []
