"""What a manifest may say: plain paths of safetensors and text files, each with its SHA-256."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clintune.core.errors import PackageError
from clintune.package.manifest import check_paths, local_manifest, read_manifest
from helpers.made_up_packages import digest, write_package

HOSTILE = [
    "/etc/x.json",
    "../x.json",
    "a/../../x.json",
    "a\\x.json",
    "C:x.json",
    "C:/x.json",
    "//host/x.json",
]
ODD = ["", ".", "./x.json", "a//x.json", "a/", "x\n.json", "x\0.json"]


@pytest.mark.parametrize("path", HOSTILE + ODD)
def test_a_path_that_could_leave_the_package_is_refused(path):
    with pytest.raises(
        PackageError, match=r"there: .* is no path inside a package; do not use it"
    ) as caught:
        check_paths("there", ["README.md", path])
    assert "\n" not in str(caught.value)
    with pytest.raises(PackageError, match="is no path inside a package"):
        read_manifest("there", json.dumps({path: digest(b"")}).encode())


@given(st.text(max_size=12))
def test_a_path_that_is_taken_stays_in_its_folder(tmp_path_factory, path):
    folder = tmp_path_factory.getbasetemp()
    try:
        check_paths("there", [path])
    except PackageError:
        return
    assert (folder / path).resolve().is_relative_to(folder.resolve())
    assert (folder / path).resolve() != folder.resolve()


def test_ordinary_paths_are_taken():
    check_paths(
        "there", ["README.md", "member-0/parts.safetensors", ".gitattributes", "a b/ü..json"]
    )


@pytest.mark.parametrize(
    "content", [b"", b"\xff", b"[" * 100_000, b"[]", b'{"a.json": "12"}', b'{"a.json": 1}']
)
def test_what_is_no_manifest_is_refused(content):
    with pytest.raises(
        PackageError, match=r"there: MANIFEST\.json (is not JSON|does not list files)"
    ):
        read_manifest("there", content)


@pytest.mark.parametrize("name", ["model.bin", "adapter.pt", "run.py", "weights", "x.json.pkl"])
def test_a_kind_of_file_that_could_run_code_is_refused(name):
    with pytest.raises(PackageError, match=f"there: {name} is no safetensors or text file"):
        read_manifest("there", json.dumps({name: digest(b"")}).encode())


def test_a_folder_must_hold_exactly_the_files_of_its_manifest(tmp_path):
    package = write_package(tmp_path / "package")
    assert len(local_manifest(package)) == 4

    parts = package / "member-0" / "parts.safetensors"
    was = parts.read_bytes()
    parts.write_bytes(was[:-1] + b"x")
    with pytest.raises(PackageError, match=r"member-0/parts\.safetensors is missing or changed"):
        local_manifest(package)
    parts.rename(tmp_path / "elsewhere.safetensors")
    with pytest.raises(PackageError, match=r"member-0/parts\.safetensors is missing or changed"):
        local_manifest(package)
    (tmp_path / "elsewhere.safetensors").write_bytes(was)
    parts.symlink_to(tmp_path / "elsewhere.safetensors")
    with pytest.raises(PackageError, match=r"member-0/parts\.safetensors is missing or changed"):
        local_manifest(package)
    parts.unlink()
    parts.write_bytes(was)
    (package / "member-2").symlink_to(tmp_path)
    with pytest.raises(PackageError, match=r"member-2 is not listed in MANIFEST\.json"):
        local_manifest(package)
    (package / "member-2").unlink()
    (package / "MANIFEST.json").unlink()
    with pytest.raises(PackageError, match=r"no MANIFEST\.json; this is not a package"):
        local_manifest(package)
