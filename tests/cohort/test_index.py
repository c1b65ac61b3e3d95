import math
import pickle
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from clintune.cohort.samples import Samples
from clintune.core.errors import DataError
from helpers.cohort_samples import (
    T0,
    Reader,
    at,
    declare_media,
    items_of,
    labels,
    open_index,
    write_shard,
)

MINUTES = st.one_of(st.none(), st.integers(0, 240))
ROWS = st.lists(
    st.tuples(st.integers(1, 4), MINUTES, st.sampled_from(["a//x", "a//y", "b//z"])), max_size=40
)
KEYS = st.lists(
    st.tuples(st.integers(1, 4), st.integers(-5, 260)), min_size=1, max_size=12, unique=True
)


def visible(rows, subject, minute, prefix, lookback_minutes):
    """Return (code, number, hours) that a sample may see, oldest first; look at row after row."""
    seen = []
    for number, (owner, when, code) in enumerate(rows):
        if owner != subject or not code.startswith(prefix):
            continue
        if when is None:
            seen.append((-math.inf, number, code, 0.0))
        elif when <= minute and (lookback_minutes is None or when >= minute - lookback_minutes):
            seen.append((when, number, code, (minute - when) / 60))
    return [(code, float(number), hours) for _, number, code, hours in sorted(seen)]


@settings(max_examples=60, deadline=None)
@given(ROWS, KEYS, st.sampled_from([None, 0, 30, 90]))
def test_a_sample_sees_static_rows_and_those_of_its_window(rows, keys, lookback):
    keys = [key for key in keys if key[0] in {row[0] for row in rows}]
    if not keys:
        return
    numbered = [(*row, float(number)) for number, row in enumerate(rows)]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for shard in (0, 1):
            write_shard(
                root / f"data/{shard}.parquet", [row for row in numbered if row[0] % 2 == shard]
            )
        readers = {"a": Reader("a//"), "b": Reader("b//"), "none": Reader("z")}
        hours = None if lookback is None else lookback / 60
        index = open_index(root, {"task": labels(*((*key, [1.0]) for key in keys))}, readers, hours)

        assert list(zip(index.subject_ids, index.prediction_times.tolist(), strict=True)) == [
            (subject, at(minute)) for subject, minute in sorted(keys)
        ]
        for sample, (subject, minute) in enumerate(sorted(keys)):
            for name, reader in readers.items():
                expected = visible(rows, subject, minute, reader.prefix, lookback)
                found = [
                    (item.code, item.value, item.hours) for item in items_of(index, sample, name)
                ]
                assert found == [
                    (code, number, pytest.approx(hours)) for code, number, hours in expected
                ]
                assert index.num_items(name)[sample] == len(expected)
        for name in readers:
            every = [item.value for row in range(len(index)) for item in items_of(index, row, name)]
            samples = Samples([index])
            items = list(samples.items(name, np.arange(len(index))[::-1]))
            assert sorted(item.value for item in items) == sorted(set(every))
            for item in items:
                owner = next(
                    row
                    for row in range(len(index))
                    if replace(item, subject=0) in items_of(index, row, name)
                )
                assert item.subject == samples.subject[owner]


def test_an_item_one_microsecond_late_is_not_seen(tmp_path):
    table = pl.DataFrame(
        {
            "subject_id": [1, 1],
            "time": [T0, T0 + timedelta(microseconds=1)],
            "code": ["now", "late"],
        }
    )
    (tmp_path / "data").mkdir()
    table.write_parquet(tmp_path / "data/0.parquet")
    index = open_index(tmp_path, {"task": labels((1, 0, [1.0]))})
    assert [item.code for item in items_of(index, 0)] == ["now"]


def test_samples_are_the_union_of_the_tasks(tmp_path):
    write_shard(tmp_path / "data/0.parquet", [(1, 0, "a", 1.0), (2, 0, "a", 1.0)])
    tasks = {
        "one": labels((1, 5, [1.0]), (2, 5, None)),
        "two": labels((1, 5, [0.0, 1.0]), (1, 9, [1.0, 0.0])),
    }
    index = open_index(tmp_path, {**tasks, "absent": None})
    assert index.subject_ids.tolist() == [1, 1, 2]
    np.testing.assert_array_equal(
        index.targets("one"), np.array([[1], [np.nan], [np.nan]], np.float32)
    )
    np.testing.assert_array_equal(
        index.targets("two"), np.array([[0, 1], [1, 0], [np.nan] * 2], np.float32)
    )
    assert index.targets("absent").shape == (3, 0)
    np.testing.assert_array_equal(index.targets("two")[1], np.array([1, 0], np.float32))


def test_an_item_names_its_row_its_file_and_its_media(tmp_path):
    declare_media(tmp_path, "image_path")
    rows = [(1, 3, "IMAGE", None), (1, 2, "NOTE", math.nan)]
    write_shard(
        tmp_path / "data/part/0.parquet",
        rows,
        text_value=[None, "ill"],
        image_path=["images/x.png", None],
    )
    readers = {"notes": Reader("NOTE"), "imaging": Reader("IMAGE", "image_path")}
    index = open_index(tmp_path, {"task": labels((1, 3, [1.0]))}, readers)
    (note,), (image,) = (items_of(index, 0, name) for name in readers)
    assert (note.text, note.value, note.path, note.where) == (
        "ill",
        None,
        None,
        "data/part/0.parquet: row 1",
    )
    assert image.path == tmp_path / "images/x.png"
    assert Samples([index]).keys(np.array([0])) == ["made_up#0"]
    assert "ill" not in repr(note)


def test_a_shard_without_the_media_column_has_no_items_of_it(tmp_path):
    declare_media(tmp_path, "image_path")
    write_shard(tmp_path / "data/0.parquet", [(1, 0, "IMAGE", None)], image_path=["x.png"])
    write_shard(tmp_path / "data/1.parquet", [(2, 0, "IMAGE", None)])
    keys = labels((1, 1, [1.0]), (2, 1, [1.0]))
    index = open_index(tmp_path, {"task": keys}, {"imaging": Reader("IMAGE", "image_path")})
    assert index.num_items("imaging").tolist() == [1, 0]


def test_the_index_is_built_again_only_when_an_input_changes(tmp_path):
    write_shard(tmp_path / "data/0.parquet", [(1, 0, "a", 1.0)])
    tasks = {"task": labels((1, 5, [1.0]))}
    first = open_index(tmp_path, tasks)
    built = (first.folder / "index.json").stat().st_mtime_ns
    again = open_index(tmp_path, tasks)
    assert again.folder == first.folder
    assert (again.folder / "index.json").stat().st_mtime_ns == built

    changed = [
        open_index(tmp_path, {"task": labels((1, 5, [0.0]))}),
        open_index(tmp_path, tasks, lookback_hours=1),
        open_index(tmp_path, tasks, {"codes": Reader("a")}),
    ]
    write_shard(tmp_path / "data/0.parquet", [(1, 0, "a", 1.0), (1, 1, "a", 1.0)])
    changed.append(open_index(tmp_path, tasks))
    assert len({first.fingerprint, *(index.fingerprint for index in changed)}) == 5
    assert changed[-1].num_items("codes").tolist() == [2]


def test_a_pickled_index_reads_the_same(tmp_path):
    write_shard(tmp_path / "data/0.parquet", [(1, 0, "a", 1.0), (1, None, "b", None)])
    index = open_index(tmp_path, {"task": labels((1, 5, [1.0]))})
    copy = pickle.loads(pickle.dumps(index))
    assert items_of(copy, 0) == items_of(index, 0)


def test_workers_of_a_data_loader_read_the_same(tmp_path):
    write_shard(
        tmp_path / "data/0.parquet", [(subject, 0, "a", float(subject)) for subject in range(20)]
    )
    index = open_index(tmp_path, {"task": labels(*((subject, 5, [1.0]) for subject in range(20)))})
    items = Samples([index]).items("codes", np.arange(20))
    loader = DataLoader(items, batch_size=4, num_workers=2, collate_fn=list)
    assert [item.value for batch in loader for item in batch] == [
        float(subject) for subject in range(20)
    ]


def test_openers_at_the_same_time_wait_for_one_build(tmp_path):
    write_shard(tmp_path / "data/0.parquet", [(1, 0, "a", 1.0)])
    tasks = {"task": labels((1, 5, [1.0]))}
    with ThreadPoolExecutor(4) as pool:
        indexes = list(pool.map(lambda _: open_index(tmp_path, tasks), range(4)))
    assert len({index.folder for index in indexes}) == 1
    assert all(items_of(index, 0) == items_of(indexes[0], 0) for index in indexes)
    assert [path.name for path in (tmp_path / "cache/index").iterdir() if path.is_dir()] == [
        indexes[0].folder.name
    ]


def test_times_of_other_units_and_zones_are_cut_alike(tmp_path):
    moments = pl.Series("time", [T0, T0 + timedelta(hours=2)])
    variants = [
        moments.cast(pl.Datetime("ms")),
        moments.cast(pl.Datetime("ns")),
        moments.dt.replace_time_zone("UTC").dt.convert_time_zone("Asia/Tokyo"),
    ]
    for number, times in enumerate(variants):
        root = tmp_path / str(number)
        (root / "data").mkdir(parents=True)
        pl.DataFrame({"subject_id": [1, 1], "time": times, "code": ["a", "b"]}).write_parquet(
            root / "data/0.parquet"
        )
        index = open_index(root, {"task": labels((1, 60, [1.0]))})
        assert [(item.code, item.hours) for item in items_of(index, 0)] == [("a", 1.0)]


def test_a_subject_in_two_shards_is_refused_naming_both(tmp_path):
    write_shard(tmp_path / "data/0.parquet", [(1, 0, "a", 1.0), (2, 0, "a", 1.0)])
    write_shard(tmp_path / "data/1.parquet", [(2, 0, "a", 1.0)])
    with pytest.raises(DataError, match=r"data/0\.parquet and data/1\.parquet"):
        open_index(tmp_path, {"task": labels((1, 5, [1.0]))})
    assert not list((tmp_path / "cache/index").glob("*/"))


def test_labels_of_unknown_subjects_are_refused_with_their_count(tmp_path):
    write_shard(tmp_path / "data/0.parquet", [(1, 0, "a", 1.0)])
    with pytest.raises(DataError, match="2 subjects labelled for task without a row in data"):
        open_index(
            tmp_path, {"task": labels((1, 5, [1.0]), (77, 5, [1.0]), (78, 5, [1.0])), "other": None}
        )


def test_a_cohort_without_any_label_is_refused(tmp_path):
    write_shard(tmp_path / "data/0.parquet", [(1, 0, "a", 1.0)])
    with pytest.raises(DataError, match="no label file has a row for one, two"):
        open_index(tmp_path, {"one": None, "two": labels()})


@pytest.mark.parametrize("path", ["/etc/passwd", "../x.png", "images/../../x.png"])
def test_a_media_path_outside_the_cohort_is_refused(tmp_path, path):
    declare_media(tmp_path, "image_path")
    write_shard(
        tmp_path / "data/0.parquet",
        [(1, 0, "I", None), (1, 0, "I", None)],
        image_path=["..x.png", path],
    )
    with pytest.raises(
        DataError, match=r"data/0\.parquet: row 1: column image_path leaves the cohort's folder"
    ):
        open_index(
            tmp_path, {"task": labels((1, 5, [1.0]))}, {"imaging": Reader("I", "image_path")}
        )


def test_a_media_column_that_is_not_declared_is_refused(tmp_path):
    write_shard(tmp_path / "data/0.parquet", [(1, 0, "I", None)], image_path=["x.png"])
    with pytest.raises(DataError, match="additional_value_modality_columns"):
        open_index(
            tmp_path, {"task": labels((1, 5, [1.0]))}, {"imaging": Reader("I", "image_path")}
        )


def in_zone(path, zone):
    table = pl.read_parquet(path, glob=False)
    table.with_columns(pl.col("time").dt.replace_time_zone(zone)).write_parquet(path)


def test_shards_of_different_kinds_of_clock_are_refused(tmp_path):
    for number in range(2):
        write_shard(tmp_path / f"data/{number}.parquet", [(number, 0, "a", 1.0)])
    in_zone(tmp_path / "data/1.parquet", "UTC")
    words = (
        r"data/1\.parquet: column time has a time zone, "
        r"while column time of data/0\.parquet has none"
    )
    with pytest.raises(DataError, match=words):
        open_index(tmp_path, {"task": labels((1, 5, [1.0]))})


@pytest.mark.parametrize("zone", [None, "Asia/Tokyo"])
def test_the_index_tells_whether_its_times_had_a_zone(tmp_path, zone):
    for number in range(2):
        write_shard(tmp_path / f"data/{number}.parquet", [(number, 0, "a", 1.0)])
    in_zone(tmp_path / "data/0.parquet", zone)
    in_zone(tmp_path / "data/1.parquet", zone and "UTC")
    assert open_index(tmp_path, {"task": labels((1, 600, [1.0]))}).has_zone == (zone is not None)


def test_a_cohort_of_static_rows_alone_has_no_clock(tmp_path):
    (tmp_path / "data").mkdir()
    pl.DataFrame({"subject_id": [1], "time": [None], "code": ["a"]}).write_parquet(
        tmp_path / "data/0.parquet"
    )
    index = open_index(tmp_path, {"task": labels((1, 0, [1.0]))})
    assert (index.has_zone, index.num_items("codes").tolist()) == (False, [1])


def test_own_labels_with_a_zone_need_events_with_one(tmp_path):
    write_shard(tmp_path / "data/0.parquet", [(1, 0, "a", 1.0)])
    zoned = labels((1, 5, [1.0])).with_columns(
        pl.col("prediction_time").dt.replace_time_zone("UTC")
    )
    with pytest.raises(
        DataError, match="the labels of task: column prediction_time has a time zone, while"
    ):
        open_index(tmp_path, {"task": zoned})


def test_labels_without_data_are_left_out_on_request(tmp_path, capsys):
    write_shard(tmp_path / "data/0.parquet", [(1, 0, "a", 1.0), (3, 1, "b", 2.0)])
    tasks = {
        "task": labels((0, 5, [0.0]), (1, 5, [1.0]), (2, 5, [1.0]), (3, 5, [0.0]), (7, 5, [0.0]))
    }
    with pytest.raises(
        DataError,
        match=r"3 subjects labelled for task .*, or leave them out with unknown_subjects: drop",
    ):
        open_index(tmp_path, tasks)
    index = open_index(tmp_path, tasks, unknown_subjects="drop")
    assert (
        "made_up: 3 subjects labelled for task without a row in data/ left out"
        in capsys.readouterr().err
    )
    assert index.subject_ids.tolist() == [1, 3]
    assert index.targets("task").tolist() == [[1.0], [0.0]]
    assert [[item.code for item in items_of(index, row)] for row in range(2)] == [["a"], ["b"]]
    with pytest.raises(
        DataError, match="1 subject labelled for task without a row in data/; add their data"
    ):
        open_index(tmp_path, {"task": labels((2, 5, [1.0]))}, unknown_subjects="drop")


def test_items_tell_subjects_of_cohorts_apart_without_ids(tmp_path):
    indexes = []
    for name in ("one", "two"):
        rows = [
            (900 + s, minute, f"{name} {s}", None) for s in (1, 2, 3) for minute in (None, 0, 5, 9)
        ]
        write_shard(tmp_path / name / "data/0.parquet", rows)
        indexes.append(
            open_index(
                tmp_path / name,
                {"task": labels(*((900 + s, m, [1.0]) for s in (1, 2, 3) for m in (1, 7)))},
            )
        )
    samples = Samples(indexes)
    items = samples.items("codes", np.array([11, 9, 1, 5, 4, 8, 0]))
    expected = {"one 1": 0, "one 3": 2, "two 2": 4, "two 3": 5}
    assert {(item.code, item.subject) for item in items} == set(expected.items())
    assert [item.subject for item in items[3:9]] == [expected[item.code] for item in items[3:9]]


def test_values_that_are_infinite_are_counted(tmp_path, capsys):
    rows = [
        (1, 0, "a", float("inf")),
        (1, 1, "a", float("-inf")),
        (1, 2, "a", 1.0),
        (1, 3, "a", float("nan")),
    ]
    write_shard(tmp_path / "data/0.parquet", rows)
    said = "2 values of numeric_value are infinite and count as absent"
    assert open_index(tmp_path, {"task": labels((1, 5, [1.0]))}).remarks == [said]
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("code", ["", "  "])
def test_a_code_of_empty_text_is_refused_by_its_row(tmp_path, code):
    write_shard(tmp_path / "data/0.parquet", [(1, 0, "a", 1.0), (1, 1, code, 1.0)])
    with pytest.raises(
        DataError, match=r"^data/0\.parquet: row 1: column code is empty text; give it a value"
    ):
        open_index(tmp_path, {"task": labels((1, 5, [1.0]))})


def test_a_media_path_of_empty_text_is_refused_by_its_row(tmp_path):
    declare_media(tmp_path, "image_path")
    write_shard(tmp_path / "data/0.parquet", [(1, 0, "a", None)] * 2, image_path=["a.png", " "])
    with pytest.raises(
        DataError,
        match=r"row 1: column image_path is empty text; write null where there is no file",
    ):
        open_index(
            tmp_path, {"task": labels((1, 5, [1.0]))}, {"imaging": Reader("a", "image_path")}
        )
