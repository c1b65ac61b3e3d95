"""Remote folders over real file systems and a real web server."""

import importlib.util
import os
import socket

import fsspec
import pytest

from clintune.core.errors import DataError
from clintune.core.files import file_sha256
from clintune.storage.remote import Remote, has_secret, redact
from helpers.webserver import WebServer

NAMES = [
    "data/0.parquet",
    "data/more/deep/1.parquet",
    "data/a b.parquet",
    "data/100%25 #1.parquet",
    "top.csv",
]


@pytest.fixture
def folder(tmp_path):
    for number, name in enumerate(NAMES):
        path = tmp_path / "bucket" / "cohort" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes([number]) * (number + 1) * 1000)
    return tmp_path / "bucket" / "cohort"


@pytest.fixture
def web(folder):
    with WebServer(folder.parent).running() as server:
        yield server


@pytest.fixture
def url(request, folder, web):
    """Return the folder's URL in one protocol."""
    memory = fsspec.filesystem("memory")
    memory.put(f"{folder}/", "/bucket/cohort", recursive=True)
    yield {
        "file": folder.as_uri(),
        "memory": "memory://bucket/cohort",
        "http": f"{web.url}/cohort",
    }[request.param]
    memory.rm("/bucket", recursive=True)


def remote(url, **storage):
    return Remote("cohorts.far.root", url, storage)


everywhere = pytest.mark.parametrize("url", ["file", "memory", "http"], indirect=True)


@everywhere
def test_every_file_is_listed_and_fetched_as_it_is(url, folder, tmp_path):
    far = remote(url + "/")
    listed = far.tree("data")
    assert sorted(listed) == sorted(name for name in NAMES if name.startswith("data/"))
    for name in NAMES:
        version = far.version(name, listed.get(name))
        far.fetch(version, tmp_path / "near" / name, tmp_path)
        assert (tmp_path / "near" / name).read_bytes() == (folder / name).read_bytes()
        assert version.is_at(tmp_path / "near" / name)
    assert far.tree("labels") == {}
    assert far.version("data/none.parquet") is None


@everywhere
def test_a_change_of_equal_size_is_another_version(url, folder, tmp_path):
    before = {name: remote(url).version(name) for name in NAMES}
    (folder / "top.csv").write_bytes(b"x" * before["top.csv"].size)
    os.utime(folder / "top.csv", (1e9, 1e9))
    fsspec.filesystem("memory").pipe("/bucket/cohort/top.csv", b"x" * before["top.csv"].size)
    after = {name: remote(url).version(name) for name in NAMES}
    assert [name for name in NAMES if before[name] != after[name]] == ["top.csv"]


@pytest.mark.parametrize("url", ["file", "memory"], indirect=True)
def test_what_is_written_is_there_to_be_read_and_hashed(url, tmp_path):
    (tmp_path / "new").write_bytes(b"new" * 1000)
    far = remote(url)
    for path in ("deep/er/new.bin", "top.csv"):
        far.write(tmp_path / "new", path)
        assert far.read(path) == b"new" * 1000
        assert far.sha256(path) == file_sha256(tmp_path / "new")
        assert path in far.tree("")
    assert far.read("none.csv") is None


def test_a_symbolic_link_counts_as_what_it_points_to(folder, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "2.parquet").write_bytes(b"linked")
    (folder / "data" / "linked").symlink_to(tmp_path / "elsewhere")
    listed = remote(folder.as_uri()).tree("data")
    assert "data/linked/2.parquet" in listed


def test_links_that_leave_the_folder_or_sort_are_no_files(web):
    web.pages["/cohort/"] = web.pages["/cohort"] = (
        '<a href="../">up</a> <a href="../../evil.csv">x</a> <a href="?C=N;O=D">Name</a> '
        '<a href="top.csv">top</a>'
        '<a href="/etc/passwd">x</a> <a href="%2e%2e/%2e%2e/evil.csv">x</a> '
        '<a href="http://other.example/a.csv">x</a>'
    )
    assert list(remote(f"{web.url}/cohort").tree("")) == ["top.csv"]


def test_what_cannot_be_listed_is_not_taken_for_empty(web):
    web.status |= {"/cohort/data/more": 500, "/cohort/data/more/": 500}
    with pytest.raises(
        DataError, match=r"cohorts\.far\.root: http://127.* cannot be read \(ClientResponseError\)"
    ):
        remote(f"{web.url}/cohort").tree("data")


def test_a_server_that_fails_is_not_a_file_that_is_gone(web):
    web.status["/cohort/top.csv"] = 503
    with pytest.raises(DataError, match=r"cannot be read"):
        remote(f"{web.url}/cohort").version("top.csv")
    web.status["/cohort/top.csv"] = 404
    assert remote(f"{web.url}/cohort").version("top.csv") is None


def test_a_file_that_shrinks_while_it_is_read_is_refused(url_of_file, folder, tmp_path):
    far = remote(url_of_file)
    version = far.version("top.csv")
    (folder / "top.csv").write_bytes(b"short")
    with pytest.raises(DataError, match="changed or vanished while it was read; try again"):
        far.fetch(version, tmp_path / "near.csv", tmp_path)
    (folder / "top.csv").unlink()
    with pytest.raises(DataError, match="changed or vanished while it was read; try again"):
        far.fetch(version, tmp_path / "near.csv", tmp_path)
    assert not (tmp_path / "near.csv").exists()


@pytest.fixture
def url_of_file(folder):
    return folder.as_uri()


def refusal(url, **storage):
    with pytest.raises(DataError) as caught:
        remote(url, **storage).tree("data")
    message = str(caught.value)
    assert message.startswith(f"cohorts.far.root: {url}: ")
    assert "\n" not in message
    return message


def test_each_failure_says_what_to_do(web):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{free.getsockname()[1]}/cohort"
        assert "check URL, settings and network" in refusal(closed)
    for status in (401, 403):
        web.status |= {"/cohort/data": status}
        assert "access is denied; set credentials where http looks for them" in refusal(
            f"{web.url}/cohort"
        )
    assert "'sss' is no protocol that fsspec knows" in refusal("sss://bucket/cohort")


@pytest.mark.skipif(importlib.util.find_spec("s3fs") is not None, reason="s3fs is installed")
def test_a_missing_package_is_named():
    assert "s3fs is not installed; pip install s3fs" in refusal("s3://bucket/cohort")


def test_passwords_and_signatures_are_seen_and_left_out():
    for secret, plain in {
        "http://me:pass@host:80/a@b": "http://host:80/a@b",
        "https://host/a?sig=abc#x": "https://host/a",
        "zip://in.zip::https://me:pass@host/a.zip": "zip://in.zip::https://host/a.zip",
    }.items():
        assert has_secret(secret)
        assert redact(secret) == plain
    for plain in (
        "s3://bucket/a",
        "abfs://box@account.dfs.core.windows.net/a",
        "hf://datasets/me/name@main/a",
    ):
        assert not has_secret(plain)
        assert redact(plain) == plain
