"""Files appear whole or not at all."""

import signal
import subprocess
import sys

import pytest

from clintune.core.files import atomic_path, stamp, value_sha256, write_json, write_text


def test_an_exception_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(UnicodeEncodeError), atomic_path(path) as partial, partial.open("w", encoding="ascii") as file:
        file.write("half é")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_a_folder_replaces_an_older_one_whole(tmp_path):
    for names in (["x", "y"], ["z"]):
        with atomic_path(tmp_path / "f") as partial:
            partial.mkdir()
            for name in names:
                (partial / name).write_text(name)
    assert [p.name for p in (tmp_path / "f").iterdir()] == ["z"]
    assert [p.name for p in tmp_path.iterdir()] == ["f"]


def test_a_process_killed_while_writing_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "old")
    code = (
        "import os, signal, sys, pathlib\n"
        "from clintune.core.files import atomic_path\n"
        "with atomic_path(pathlib.Path(sys.argv[1])) as partial:\n"
        "    partial.write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)])
    assert done.returncode == -signal.SIGKILL
    assert path.read_text() == "old"


def test_json_refuses_what_json_has_not(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"a": float("nan")})
    assert not (tmp_path / "a.json").exists()


def test_hashes_do_not_depend_on_the_order_of_keys_and_stamps_follow_changes(tmp_path):
    assert value_sha256({"a": 1, "b": 2}) == value_sha256({"b": 2, "a": 1}) != value_sha256({"a": 2, "b": 1})
    (tmp_path / "a").write_text("1")
    before = stamp([tmp_path / "a"])
    (tmp_path / "a").write_text("22")
    assert stamp([tmp_path / "a"]) != before
