"""A rotten index is named and built again; other content is another table, whatever its time."""

import os
import shutil
import time

import polars as pl
import pytest

from clintune.cohort import seal
from clintune.cohort.seal import damage, table_hashes
from clintune.core.files import file_sha256
from helpers.cohort_samples import Reader, items_of, labels, open_index, write_shard

FILES = [
    "samples.arrow",
    "codes.arrow",
    "codes.time",
    "codes.code",
    "codes.numeric_value",
    "index.json",
]


@pytest.fixture
def root(tmp_path):
    write_shard(
        tmp_path / "data/0.parquet",
        [(s, m, "a", float(s + m)) for s in range(50) for m in range(4)],
    )
    return tmp_path


def opened(root):
    return open_index(
        root, {"task": labels(*((s, 2, [s % 2]) for s in range(50)))}, {"codes": Reader()}
    )


def content(index):
    return [items_of(index, row) for row in range(len(index))], index.targets("task").tolist()


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


def cut(path):
    path.write_bytes(path.read_bytes()[:-9])


def rot_in_silence(path):
    """Change a bit as a disk does: the times of the file stay."""
    times = path.stat()
    flip(path)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("spoil", [flip, cut, rot_in_silence, os.remove])
def test_a_damaged_index_is_named_and_built_again(root, capsys, name, spoil):
    index = opened(root)
    expected, folder = content(index), index.folder
    capsys.readouterr()
    spoil(folder / name)
    again = opened(root)
    assert content(again) == expected
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"{folder / name}: is not as it was written; the index is built again"
    assert damage(again.folder) is None
    opened(root)
    assert capsys.readouterr().err == ""


def test_an_index_is_read_whole_once_until_it_is_touched(root, monkeypatch):
    folder = opened(root).folder
    assert damage(folder) is None
    monkeypatch.setattr(seal, "_hashes", lambda paths: pytest.fail("read again"))
    assert damage(folder) is None


def test_a_table_rewritten_at_the_same_size_and_time_is_seen(root):
    path, plain = root / "data/0.parquet", {"compression": "uncompressed", "statistics": False}
    table = pl.read_parquet(path, glob=False).with_columns(pl.col("code").cast(pl.String))
    table.write_parquet(path, **plain)
    first, before = opened(root), path.stat()
    table.with_columns(pl.col("numeric_value").reverse()).write_parquet(path, **plain)
    assert path.stat().st_size == before.st_size
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    second = opened(root)
    assert second.fingerprint != first.fingerprint
    assert content(second)[0][0][0].value == 52.0
    assert content(first)[0][0][0].value == 0.0

    restored = shutil.copy2(path, root / "data/restored")
    restored.replace(path)
    assert opened(root).fingerprint == second.fingerprint, "the same content is the same table"


def test_hashes_are_remembered_and_damaged_ones_not_believed(tmp_path, monkeypatch):
    (tmp_path / "a").write_bytes(bytes(100))
    monkeypatch.setattr(seal, "_RESTLESS_NS", -(10**12))
    right = {"a": file_sha256(tmp_path / "a")}
    assert table_hashes(tmp_path, [tmp_path / "a"], tmp_path / "cache") == right
    with monkeypatch.context() as patched:
        patched.setattr(seal, "_hashes", lambda paths: pytest.fail("read again"))
        assert table_hashes(tmp_path, [tmp_path / "a"], tmp_path / "cache") == right
    (memory,) = (tmp_path / "cache/media").glob("*.json")
    memory.write_text(memory.read_text().replace(right["a"], "0" * 64))
    assert table_hashes(tmp_path, [tmp_path / "a"], tmp_path / "cache") == right


def test_a_table_that_was_just_written_is_read_again(tmp_path):
    for byte in (b"a", b"b"):
        (tmp_path / "t").write_bytes(byte * 100)
        os.utime(tmp_path / "t", (time.time() - 60,) * 2)
        assert table_hashes(tmp_path, [tmp_path / "t"], tmp_path)["t"] == file_sha256(
            tmp_path / "t"
        )
