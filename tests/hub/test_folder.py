"""A folder and URLs as hubs: a package appears whole, stays, and a wrong one is not fetched."""

from pathlib import Path

import fsspec
import pytest

from clintune.core.errors import PackageError
from clintune.hub.base import open_hub
from conftest import run_python
from helpers.folders import contents
from helpers.made_up_packages import FILES, digest, write_package
from helpers.webserver import WebServer

PARTS = "member-1/parts.safetensors"


@pytest.fixture
def package(tmp_path):
    return write_package(tmp_path / "package")


@pytest.fixture
def place(request, tmp_path):
    """Return an address of each kind at which nothing stands yet."""
    kind = request.param
    yield {
        "folder": str(tmp_path / "share/m/v1"),
        "file": f"file://{tmp_path}/share/m/v1",
        "memory": "memory://box/m",
    }[kind]
    if kind == "memory":
        fsspec.filesystem("memory").rm("/", recursive=True)


everywhere = pytest.mark.parametrize("place", ["folder", "file", "memory"], indirect=True)
urls = pytest.mark.parametrize("place", ["file", "memory"], indirect=True)


def there(address):
    """Return the filesystem and the path of an address."""
    return fsspec.core.url_to_fs(address)


@everywhere
def test_a_package_comes_back_from_the_returned_address(place, package, tmp_path):
    address = open_hub(place).send(package)
    assert address == place
    fetched = open_hub(address).fetch(tmp_path / "cache")
    assert contents(fetched) == contents(package)
    assert open_hub(address).fetch(tmp_path / "cache") == fetched


@everywhere
def test_the_same_package_may_be_sent_again_and_another_may_not(place, package, tmp_path):
    open_hub(place).send(package)
    assert open_hub(place).send(package) == place
    with pytest.raises(
        PackageError, match="something else stands there; publish to a path of its own"
    ):
        open_hub(place).send(write_package(tmp_path / "new", README_md=b"# Another card\n"))
    assert contents(open_hub(place).fetch(tmp_path / "cache")) == contents(package)


@everywhere
def test_what_is_no_package_is_neither_overwritten_nor_added_to(place, package):
    files, path = there(place)
    files.makedirs(path)
    files.pipe(f"{path}/notes.txt", b"kept")
    with pytest.raises(PackageError, match="something else stands there"):
        open_hub(place).send(package)
    assert [Path(name).name for name in files.find(path)] == ["notes.txt"]


@everywhere
def test_a_package_that_is_not_whole_is_not_sent(place, package):
    (package / PARTS).write_bytes(b"")
    with pytest.raises(PackageError, match="missing or changed"):
        open_hub(place).send(package)
    files, path = there(place)
    assert not files.exists(path)


@urls
def test_a_send_that_was_stopped_goes_on_with_what_is_missing(place, package, tmp_path):
    files, path = there(place)
    files.makedirs(f"{path}/member-0")
    files.makedirs(f"{path}/member-1")
    files.pipe(f"{path}/member-0/parts.safetensors", FILES["member-0/parts.safetensors"])
    files.pipe(f"{path}/{PARTS}", FILES[PARTS][:1000])
    with pytest.raises(
        PackageError, match=r"no MANIFEST\.json; no package was published there to the end"
    ):
        open_hub(place).fetch(tmp_path / "cache")
    untouched = files.modified(f"{path}/member-0/parts.safetensors")
    open_hub(place).send(package)
    assert files.modified(f"{path}/member-0/parts.safetensors") == untouched
    assert contents(open_hub(place).fetch(tmp_path / "cache")) == contents(package)


def test_what_a_killed_process_was_sending_is_swept_by_the_next(package, tmp_path):
    left = tmp_path / "share" / ".m.abcdefgh.partial"
    left.mkdir(parents=True)
    (left / "half").touch()
    open_hub(str(tmp_path / "share" / "m")).send(package)
    assert [path.name for path in (tmp_path / "share").iterdir()] == ["m"]


def test_a_disk_that_is_full_half_way_leaves_no_package(package, tmp_path):
    limited = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))"
    send = "import sys; from pathlib import Path; from clintune.hub.base import open_hub as hub; "
    send += "hub(sys.argv[1]).send(Path(sys.argv[2]))"
    place = tmp_path / "share" / "m"
    done = run_python("-c", f"{limited}; {send}", str(place), str(package))
    said = (
        f"clintune.core.errors.StorageError: {place}: "
        "the file is too large for the disk or for `ulimit -f`;"
    )
    assert done.stderr.splitlines()[-1].startswith(said)
    assert list((tmp_path / "share").iterdir()) == []

    place = f"file://{tmp_path}/far/m"
    done = run_python("-c", f"{limited}; {send}", place, str(package))
    assert done.stderr.splitlines()[-1].startswith(
        f"clintune.core.errors.PackageError: hub: {place}: cannot be read"
    )

    far = tmp_path / "far" / "m"
    assert (far / "member-0" / "parts.safetensors").exists()
    assert not (far / "MANIFEST.json").exists()

    open_hub(place).send(package)
    assert contents(far) == contents(package)


@urls
def test_a_fetch_that_was_stopped_goes_on_with_what_is_missing(place, package, tmp_path):
    open_hub(place).send(package)
    whole = open_hub(place).fetch(tmp_path / "cache")
    partial = whole.rename(whole.with_suffix(".partial"))
    (partial / PARTS).write_bytes(FILES[PARTS][:1000])
    (partial / ".scratch").mkdir()
    (partial / ".scratch" / "half").write_bytes(b"half")
    untouched = (partial / "README.md").stat().st_ino
    assert open_hub(place).fetch(tmp_path / "cache") == whole
    assert contents(whole) == contents(package)
    assert (whole / "README.md").stat().st_ino == untouched


@urls
def test_what_is_changed_foreign_or_hostile_is_refused(place, package, tmp_path):
    files, path = there(open_hub(place).send(package))

    def refused(message):
        with pytest.raises(PackageError, match=message):
            open_hub(place).fetch(tmp_path / "cache")
        assert not [path for path in tmp_path.glob("cache/packages/*") if path.suffix == ""]

    files.pipe(f"{path}/{PARTS}", b"X" + FILES[PARTS][1:])
    refused("member-1/parts.safetensors is missing or changed")
    files.pipe(f"{path}/{PARTS}", FILES[PARTS])
    files.pipe(f"{path}/model.bin", b"pickle")
    refused(r"model\.bin is not listed in MANIFEST\.json")
    files.rm(f"{path}/model.bin")
    files.pipe(f"{path}/MANIFEST.json", b'{"../evil.json": "%s"}' % digest(b"{}").encode())
    files.pipe(f"{path}/../evil.json", b"{}")
    refused("is no path inside a package")
    assert not list(tmp_path.glob("cache/**/evil.json"))


def test_a_folder_is_loaded_where_it_stands_and_must_be_there(package, tmp_path):
    assert open_hub(str(package)).fetch(tmp_path / "cache") == package
    with pytest.raises(
        PackageError, match="none: no such folder; give a folder, org/name, models:/name or a URL"
    ):
        open_hub(str(tmp_path / "none")).fetch(tmp_path / "cache")


def test_a_package_of_a_web_server_is_fetched_never_sent(package, tmp_path):
    with WebServer(tmp_path).running() as web:
        url = f"{web.url}/package"
        assert contents(open_hub(url).fetch(tmp_path / "cache")) == contents(package)
        with pytest.raises(PackageError, match="web servers take no packages"):
            open_hub(url).send(package)
        web.status["/package/MANIFEST.json"] = 403
        with pytest.raises(
            PackageError, match=r"hub: http://.*: access is denied; set credentials"
        ):
            open_hub(url).fetch(tmp_path / "other")
