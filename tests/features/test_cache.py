"""The piece cache: found by content, filled once, resumed after a stop, honest about bad files."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from clintune.cohort.index import VisibleItems
from clintune.features.cache import PieceCache
from clintune.modalities.notes import NativeNotes, Notes
from helpers.opened_samples import open_samples, small_imaging

FILL = """
import sys
from pathlib import Path
import numpy as np
from helpers.opened_samples import open_samples, small_imaging
import clintune.features.cache as cache
import clintune.features.preprocess as encode
encode.TOGETHER = encode.READ_AHEAD = 2
stop, root, folder = int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
modality, preprocess, log = small_imaging(), None, []
samples = open_samples([root], {"imaging": modality}, folder)
preprocess = type(modality.reader).preprocess
def logged(self, item, view=0):
    if len(log) == stop:
        print("halfway", flush=True)
        sys.stdin.readline()
    log.append(item.number)
    return preprocess(self, item, view)
type(modality.reader).preprocess = logged
items = samples.items("imaging", np.arange(len(samples)))
cache.PieceCache("imaging", modality, {}, folder).fill(items)
print("prepared", *log, flush=True)
"""


@pytest.fixture
def modality():
    return small_imaging()


@pytest.fixture
def fill(cohort, tmp_path):
    """Return a function that fills a cache with a cohort's images: its items and their pieces."""

    def fill(modality, root=cohort, cache=tmp_path / "cache", precision="fp32", **settings):
        samples = open_samples([root], {"imaging": modality}, cache)
        items = samples.items("imaging", np.arange(len(samples)))
        return list(items), PieceCache("imaging", modality, {}, cache, precision).fill(
            items, **settings
        )

    return fill


def read(pieces, item, view=0):
    """Return one item's pieces."""
    number, view = np.array([item.number]), np.array([view])
    return pieces.read(VisibleItems(number, np.array([item.hours]), np.zeros(1, int)), view, 10**6)


def assert_current(modality, pieces, items):
    """Check that every item's tokens are those that the encoder gives the file as it is now."""
    for item in items:
        alone = modality.reader.preprocess(item)
        with torch.no_grad():
            torch.testing.assert_close(read(pieces, item).encoded, modality.encode(alone.tensors))
        torch.testing.assert_close(read(pieces, item).hours, alone.hours)


def shards(folder):
    return {path: path.stat().st_mtime_ns for path in folder.glob("cache/pieces/*/*.safetensors")}


def test_cached_tokens_are_the_encoders_and_hours_the_items(modality, fill):
    items, pieces = fill(modality)
    assert len(items) > 10
    assert_current(modality, pieces, items)


def test_only_what_changed_is_prepared_anew(modality, fill, cohort, tmp_path):
    items, pieces = fill(modality)
    before, first = shards(tmp_path), items[0].path
    tokens = read(pieces, items[0]).encoded
    stat, content = first.stat(), first.read_bytes()
    first.write_bytes(bytes(len(content)))  # nobody can tell from the size and the time
    os.utime(first, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert torch.equal(read(fill(modality)[1], items[0]).encoded, tokens)
    assert shards(tmp_path) == before
    first.write_bytes(items[1].path.read_bytes())
    again = fill(modality)[1]
    assert shards(tmp_path) == before
    assert torch.equal(read(again, items[0]).encoded, read(again, items[1]).encoded)
    first.write_bytes(content)
    assert_current(modality, fill(modality)[1], items)
    assert shards(tmp_path) == before


def test_the_same_files_elsewhere_need_nothing_prepared(modality, fill, cohort, tmp_path):
    fill(modality)
    before = shards(tmp_path)
    copy = shutil.copytree(cohort, tmp_path / "copy")
    items, pieces = fill(modality, copy)
    assert shards(tmp_path) == before
    assert_current(modality, pieces, items)


def test_a_lost_shard_is_made_again(modality, fill, tmp_path, monkeypatch):
    monkeypatch.setattr("clintune.features.preprocess.TOGETHER", 4)
    monkeypatch.setattr("clintune.features.preprocess.READ_AHEAD", 4)
    fill(modality)
    before = shards(tmp_path)
    next(iter(before)).unlink()
    items, pieces = fill(modality)
    assert shards(tmp_path).keys() == before.keys()
    assert_current(modality, pieces, items)


@pytest.mark.parametrize(
    "damage", ["a bit of a token", "a bit of the header", "half of it", "nothing of it"]
)
def test_a_shard_that_rots_is_named_and_made_again(modality, fill, tmp_path, capsys, damage):
    items, pieces = fill(modality)
    (path,) = shards(tmp_path)
    stat, content = path.stat(), bytearray(path.read_bytes())
    del pieces
    if damage.startswith("a bit"):
        content[20 if "header" in damage else -9] ^= 1
    path.write_bytes(content[: {"half of it": len(content) // 2, "nothing of it": 0}.get(damage)])
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))

    items, pieces = fill(modality)
    assert_current(modality, pieces, items)
    assert f"{path}: is not as it was written; it is made again" in capsys.readouterr().err


def test_other_processes_prepare_the_same(modality, fill, tmp_path, monkeypatch):
    monkeypatch.setattr("clintune.features.preprocess.WORTH_A_WORKER", 1)
    items, pieces = fill(modality, workers=1)
    assert_current(modality, pieces, items)


def test_other_settings_or_weights_have_a_cache_of_their_own(tmp_path):
    def folder(statistics, precision="fp32", origin=None, **settings):
        modality = small_imaging(**settings)
        if origin is not None:
            modality.origin = origin
        return PieceCache("imaging", modality, statistics, tmp_path, precision).folder

    origin = {"source": "elsewhere", "sha256": "1"}
    folders = [
        folder({}),
        folder({}, "bf16"),
        folder({"mean": 1}),
        folder({}, fit="crop"),
        folder({}, regions=2),
        folder({}, mode="full"),
        folder({}, origin=origin),
        folder({}, origin={**origin, "sha256": "2"}),
    ]
    assert len(set(folders)) == len(folders)

    # What a view holds depends neither on which items are read nor on how many views there are.
    assert folder({}, views=5, codes=["IMAGE//CXR"]) == folder({})


def test_pieces_of_other_tokenizers_or_budgets_stay_apart(tmp_path):
    def folder(kind, source, **settings):
        modality = kind(**{"source": source, "mode": "full", **settings})
        modality.origin = {"source": source}
        return PieceCache("notes", modality, {}, tmp_path).folder

    folders = [
        folder(kind, source, max_pieces=budget)
        for kind in (Notes, NativeNotes)
        for source in "ab"
        for budget in (1, 2)
    ]
    assert len(set(folders)) == len(folders)


def test_what_no_sample_reads_is_counted_beside_what_is_kept(cohort, tmp_path):
    notes = Notes(source="bundled:minilm", chunk_tokens=8, overlap_tokens=0, max_pieces=1)
    notes.build({})
    samples = open_samples([cohort], {"notes": notes}, tmp_path)
    items = samples.items("notes", np.arange(len(samples)))
    numbers = np.array([item.number for item in items])
    pieces = PieceCache("notes", notes, {}, tmp_path).fill(items)
    assert pieces.lengths(numbers, np.zeros_like(numbers)).tolist() == [1] * len(numbers)
    assert pieces.left_out(numbers).tolist() == [
        notes.reader.preprocess(item).left_out for item in items
    ]
    assert pieces.left_out(numbers).any()


def test_every_unreadable_item_has_its_error_until_it_is_mended(modality, fill):
    items, _ = fill(modality)
    content = items[0].path.read_bytes()
    for item in items[:2]:
        item.path.write_bytes(b"")
    items[2].path.unlink()
    for _ in range(2):
        pieces = fill(modality)[1]
        assert pieces.errors.keys() == {item.where for item in items[:3]}
        assert [len(read(pieces, item).hours) for item in items[3:]] == [1] * len(items[3:])
        number = np.array([item.number for item in items[:3]])
        assert pieces.lengths(number, np.zeros(3, int)).tolist() == [0, 0, 0]
    for item in items[:3]:
        item.path.write_bytes(content)
    pieces = fill(modality)[1]
    assert pieces.errors == {}
    assert_current(modality, pieces, items)


def test_in_bf16_tokens_are_the_encoders_own_to_its_digits(modality, fill):
    items, pieces = fill(modality, precision="bf16")
    exact = fill(modality)[1]
    both = [(read(pieces, item).encoded, read(exact, item).encoded) for item in items]
    assert any(not torch.equal(*pair) for pair in both)
    for rounded, own in both:
        torch.testing.assert_close(rounded, own, atol=0.02 * float(own.abs().max()), rtol=0)


def test_pieces_that_train_are_cached_before_the_encoder(fill):
    modality = small_imaging(mode="full", views=2)
    items, pieces = fill(modality)
    for view in (0, 1):
        found = read(pieces, items[0], view).tensors["pixels"]
        assert torch.equal(found, modality.reader.preprocess(items[0], view).tensors["pixels"])


@pytest.mark.parametrize("killed", [pytest.param(False, marks=pytest.mark.slow), True])
def test_of_two_processes_one_fills_and_the_other_waits(modality, fill, cohort, tmp_path, killed):
    def start(stop):
        paths = os.pathsep.join(
            [str(Path(__file__).parents[1]), str(Path(__file__).parents[2] / "src")]
        )
        return subprocess.Popen(
            [sys.executable, "-c", FILL, str(stop), str(cohort), str(tmp_path / "cache")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": paths, "COLUMNS": "200"},
        )

    builder = start(5)
    assert builder.stdout.readline() == "halfway\n"
    waiter = start(-1)
    said = waiter.stderr.readline()
    assert said.startswith("waiting for ")
    assert said.startswith(f"waiting for process {builder.pid} of host ")
    assert said.endswith(", which prepares the pieces of imaging\n")
    if killed:
        builder.send_signal(signal.SIGKILL)
    prepared = [process.communicate("\n")[0].split()[1:] for process in (builder, waiter)]
    expected, _ = fill(modality, cache=tmp_path / "alone")
    numbers = [str(item.number) for item in expected]
    assert prepared == ([[], numbers[4:]] if killed else [numbers, []])
    assert waiter.returncode == 0
    before = shards(tmp_path)
    items, pieces = fill(modality)
    assert shards(tmp_path) == before
    assert_current(modality, pieces, items)
