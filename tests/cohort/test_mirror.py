"""The local copy of a cohort behind a real web server: what is fetched, when, and how often."""

import os
import signal
import subprocess
import sys
from dataclasses import replace

import pytest

from clintune.cohort import mirror
from clintune.cohort.mirror import fetch_media, open_mirror
from clintune.cohort.source import open_root
from clintune.config.compose import compose_recipe
from clintune.config.schema import Cohort
from clintune.core.errors import ClintuneError, ConfigError, DataError
from clintune.core.locks import lock_of
from helpers.folders import contents
from helpers.webserver import WebServer

TABLES = [
    "data/0.parquet",
    "data/sub/1.parquet",
    "metadata/dataset.json",
    "labels/x.parquet",
    "folds.csv",
]
MEDIA = ["images/a b.png", "images/c.png", "data/d.png", "waves/w.hea", "waves/w.dat"]
OPEN = """
import sys
from dataclasses import replace
from pathlib import Path
from clintune.cohort.mirror import open_mirror
open_mirror("cohorts.far.root", sys.argv[1], {}, Path(sys.argv[2]), ["folds.csv"])
"""


@pytest.fixture
def far(tmp_path):
    root = tmp_path / "far"
    for name in [*TABLES, *MEDIA]:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode() * 5000)
    (root / "waves" / "w.hea").write_text("w 1 1 4\nw.dat 16\n")
    return root


@pytest.fixture
def web(far):
    with WebServer(far).running() as server:
        yield server


@pytest.fixture
def fetched(web, tmp_path):
    """Return a function that opens the copy, as a new process would, and tells what was fetched."""

    def opened():
        web.gets.clear()
        folder = open_mirror(
            "cohorts.far.root", web.url, {}, tmp_path / "cache", ["folds.csv", "../x", "none.csv"]
        )
        return folder, sorted(web.files().elements())

    return opened


def read(folder, names):
    fetch_media(folder / name for name in names)
    return {name: (folder / name).read_bytes() for name in names if (folder / name).exists()}


def paths(names):
    return sorted(f"/{name}" for name in names)


def copied(folder):
    own = (mirror._ABOUT, ".used")
    return {name: data for name, data in contents(folder).items() if name not in own}


def test_tables_are_fetched_again_only_where_they_changed(fetched, far):
    folder, first = fetched()
    assert first == paths(TABLES)
    assert copied(folder) == {name: (far / name).read_bytes() for name in TABLES}
    assert fetched() == (folder, [])
    (far / "labels" / "x.parquet").write_bytes(b"y" * len(b"labels/x.parquet" * 5000))
    os.utime(far / "labels" / "x.parquet", (1e9, 1e9))
    assert fetched() == (folder, ["/labels/x.parquet"])
    (far / "data" / "sub" / "1.parquet").unlink()
    (far / "folds.csv").unlink()
    (folder / "data" / "0.parquet").unlink()
    assert fetched() == (folder, ["/data/0.parquet"])
    assert copied(folder) == {
        name: (far / name).read_bytes()
        for name in ("data/0.parquet", "metadata/dataset.json", "labels/x.parquet")
    }


def test_media_are_fetched_when_they_are_read_and_once(fetched, web, far):
    folder, _ = fetched()
    names = ["images/a b.png", "data/d.png", "waves/w.hea", "images/none.png"]
    for _ in range(2):
        assert read(folder, names) == {name: (far / name).read_bytes() for name in names[:3]}
    assert (folder / "waves" / "w.dat").read_bytes() == (far / "waves" / "w.dat").read_bytes()
    assert not (folder / "images" / "c.png").exists()
    assert {path: web.gets[path] for path in paths(MEDIA)} == {
        path: path != "/images/c.png" for path in paths(MEDIA)
    }
    assert fetched() == (folder, [])
    assert (folder / "data" / "d.png").exists()
    read(folder, names)
    assert not web.files()


@pytest.mark.parametrize("is_web", [True, False], ids=["web", "folder"])
def test_a_header_brings_the_files_that_it_and_its_segments_name(fetched, far, tmp_path, is_web):
    waves = far / "waves"
    (waves / "long.hea").write_text("long/2 1 1 8\nfirst 4\n~ 2\nsecond 2\n")
    (waves / "first.hea").write_text("first 1 1 4\nsignal.bin 16\n")
    (waves / "second.hea").write_text("second 1 1 2\nother.bin 16\n../../secret 16\n")
    for name in ("signal.bin", "other.bin"):
        (waves / name).write_bytes(name.encode())
    folder = (
        fetched()[0] if is_web else open_mirror("far", far.as_uri(), {}, tmp_path / "cache", [])
    )
    fetch_media([folder / "waves" / "long.hea"])
    here = {path.name for path in (folder / "waves").iterdir()}
    assert here == {"long.hea", "first.hea", "second.hea", "signal.bin", "other.bin"}


def test_media_that_change_or_vanish_do_so_here(fetched, web, far):
    folder, _ = fetched()
    names = ["images/a b.png", "images/c.png", "waves/w.hea"]
    read(folder, names)
    (far / "images" / "a b.png").write_bytes(b"another picture")
    (far / "images" / "c.png").unlink()
    fetched()
    assert read(folder, names) == {
        name: (far / name).read_bytes() for name in ("images/a b.png", "waves/w.hea")
    }
    assert web.files() == {"/images/a b.png": 1}


def test_media_of_object_storage_are_told_apart_by_listing(far, tmp_path):
    folder = open_mirror("cohorts.far.root", far.as_uri(), {}, tmp_path / "cache", [])
    assert read(folder, [*MEDIA, "none/at/all.png"]) == {
        name: (far / name).read_bytes() for name in MEDIA
    }
    (far / "images" / "c.png").write_bytes(b"another picture")
    (folder / "images" / "a b.png").write_bytes(b"what nobody fetched")
    open_mirror("cohorts.far.root", far.as_uri(), {}, tmp_path / "cache", [])
    assert read(folder, MEDIA) == {name: (far / name).read_bytes() for name in MEDIA}


def test_an_error_while_media_are_read_stops_the_run(fetched, web):
    folder, _ = fetched()
    web.status["/images/c.png"] = 503
    with pytest.raises(
        DataError, match=r"^cohorts\.far\.root: http://[0-9.:]+: cannot be read"
    ) as caught:
        read(folder, ["images/c.png"])
    assert "c.png" not in str(caught.value)


def test_two_processes_that_open_at_once_fetch_each_file_once(web, far, tmp_path):
    words = [sys.executable, "-c", OPEN, web.url, str(tmp_path / "cache")]
    both = [subprocess.Popen(words) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    assert web.files() == dict.fromkeys(paths(TABLES), 1)


def test_a_kill_while_fetching_leaves_no_half_file(web, far, tmp_path):
    web.stalled.add("/data/sub/1.parquet")
    process = subprocess.Popen([sys.executable, "-c", OPEN, web.url, str(tmp_path / "cache")])
    assert web.half_sent.wait(60)
    process.send_signal(signal.SIGKILL)
    process.wait()
    folder = mirror.local_root(web.url, tmp_path / "cache")
    half = copied(folder)
    assert "data/sub/1.parquet" not in half
    assert all(content == (far / name).read_bytes() for name, content in half.items())
    web.stalled.clear()
    open_mirror("cohorts.far.root", web.url, {}, tmp_path / "cache", ["folds.csv"])
    assert copied(folder) == {name: (far / name).read_bytes() for name in TABLES}
    assert sorted(path.name for path in folder.parent.iterdir()) == sorted(
        [folder.name, lock_of(folder).name]
    )


def test_a_url_without_tables_is_refused_and_the_copy_stays(fetched, far, tmp_path):
    folder, _ = fetched()
    (far / "data").rename(far / "moved")
    with pytest.raises(
        DataError, match=r"cohorts\.far\.root: http.*no data/\*\*/\*\.parquet is listed there"
    ):
        fetched()
    assert sorted(copied(folder)) == sorted(TABLES)


def test_a_source_cannot_write_to_a_url(tmp_path):
    cohort = Cohort(root="s3://bucket/cohort", source={"_target_": "x.y"})
    with pytest.raises(
        ConfigError, match=r"cohorts\.far\.root: a `source` cannot write to s3://bucket/cohort"
    ):
        open_root("far", cohort, tmp_path)


@pytest.mark.parametrize(
    ("override", "key"),
    [
        (
            "cohorts.tiny.root='https://me:hunter2@host/cohort'",
            r"cohorts\.tiny\.root' holds a password or a query",
        ),
        (
            "cohorts.tiny.root='https://host/cohort?sig=hunter2'",
            r"cohorts\.tiny\.root' holds a password or a query",
        ),
        (
            "cohorts.tiny.storage={secret: hunter2}",
            r"cohorts\.tiny\.storage\.secret' looks like a secret",
        ),
        (
            "cohorts.tiny.storage={client_kwargs: {aws_access_key_id: hunter2}}",
            r"client_kwargs\.aws_access_key_id'",
        ),
        (
            "cohorts.tiny.storage={endpoint_url: 'http://me:hunter2@host'}",
            r"storage\.endpoint_url' looks like",
        ),
        (
            "cohorts.tiny.storage=environment",
            r"cohorts\.tiny\.storage' is 'environment'; give a mapping",
        ),
    ],
)
def test_secrets_in_a_recipe_are_refused_and_not_repeated(recipe, override, key):
    with pytest.raises(ClintuneError, match=key) as caught:
        compose_recipe(recipe(), [override])
    assert "hunter2" not in str(caught.value)
    assert "environment" in str(caught.value)


def test_storage_reaches_the_protocol(recipe, far, tmp_path):
    settings = (
        "{endpoint_url: 'https://minio.example', anon: true, "
        "client_kwargs: {skip_auto_headers: [Accept]}}"
    )
    cohort = compose_recipe(recipe(), [f"cohorts.tiny.storage={settings}"]).cohorts["tiny"]
    assert cohort.storage["anon"] is True
    with WebServer(far).running() as web:
        headers = {"client_kwargs": {"headers": {"X-Site": "ward"}}}
        open_root("tiny", replace(cohort, root=web.url, storage=headers), tmp_path / "cache")
        assert web.headers["X-Site"] == "ward"


def test_a_copy_of_a_folder_follows_links_and_takes_brackets(far, tmp_path):
    root = far.rename(tmp_path / "far [1]*")
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk/2.parquet").write_bytes(b"linked")
    (root / "data/b").symlink_to(tmp_path / "disk")
    (root / "data/loop").symlink_to(root / "data")
    (root / "task_labels/mortality").mkdir(parents=True)
    (root / "task_labels/mortality/icu[1].parquet").write_bytes(b"labels")
    (tmp_path / "far 1x/data").mkdir(parents=True)
    folder = open_mirror(
        "cohorts.far.root", f"file://{root}", {}, tmp_path / "cache", ["folds.csv"]
    )
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    found -= {"remote.json", ".used"}
    assert found == {*TABLES, "data/b/2.parquet", "task_labels/mortality/icu[1].parquet"}
    (root / "task_labels/mortality/icu[1].parquet").unlink()
    open_mirror("cohorts.far.root", f"file://{root}", {}, tmp_path / "cache", ["folds.csv"])
    assert not (folder / "task_labels/mortality/icu[1].parquet").exists()
