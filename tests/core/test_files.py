"""Files appear whole or not at all."""

import errno
import signal
import subprocess
import sys

import pytest

from clintune.core.errors import StorageError
from clintune.core.files import (
    atomic_path,
    file_signature,
    sweep_leftovers,
    value_sha256,
    write_json,
    write_text,
)

KILLED_WRITING = """
import os, signal, sys, pathlib
from clintune.core.files import atomic_path
with atomic_path(pathlib.Path(sys.argv[1])) as partial:
    partial.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_an_exception_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with (
        pytest.raises(UnicodeEncodeError),
        atomic_path(path) as partial,
        partial.open("w", encoding="ascii") as file,
    ):
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
    done = subprocess.run([sys.executable, "-c", KILLED_WRITING, str(path)])
    assert done.returncode == -signal.SIGKILL
    assert path.read_text() == "old"


def test_what_killed_processes_were_writing_is_swept(tmp_path):
    run = tmp_path / "run [v2]"
    kept = [
        run / "package" / "a",
        tmp_path / ".other.partial" / "a",
        run / ".hidden.folder" / "a",
        run / ".a.partial",
    ]
    for path in kept:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    for path in (run / "checkpoints" / "best.safetensors", run / "status.json", run):
        subprocess.run([sys.executable, "-c", KILLED_WRITING, str(path)])
    assert len(list(tmp_path.rglob("*.partial"))) == 3 + 2
    sweep_leftovers(run)
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == set(kept)


def test_json_refuses_what_json_has_not(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"a": float("nan")})
    assert not (tmp_path / "a.json").exists()


def test_hashes_ignore_order_and_stamps_follow_changes(tmp_path):
    assert (
        value_sha256({"a": 1, "b": 2})
        == value_sha256({"b": 2, "a": 1})
        != value_sha256({"a": 2, "b": 1})
    )
    (tmp_path / "a").write_text("1")
    before = file_signature([tmp_path / "a"])
    (tmp_path / "a").write_text("22")
    assert file_signature([tmp_path / "a"]) != before


@pytest.mark.parametrize("relative", [False, True])
@pytest.mark.parametrize("write", ["safetensors", "polars", "shutil", "copy", "python"])
def test_a_full_disk_is_named_whichever_library_meets_it(write, relative, tmp_path):
    """The limit of the size of a file stands for the full disk."""
    code = (
        "import resource, shutil, signal, sys\n"
        "from pathlib import Path\n"
        "import numpy as np, polars as pl\n"
        "from safetensors.numpy import save_file\n"
        "from clintune.core.errors import StorageError\n"
        "from clintune.core.files import atomic_path\n"
        "folder, values = Path(sys.argv[1]), np.arange(100_000) % 9973 * 7919\n"
        "(folder / 'large').mkdir()\n"
        "values.tofile(folder / 'large' / 'file')\n"
        "do = {\n"
        "    'safetensors': lambda path: save_file({'a': values}, path),\n"
        "    'polars': lambda path: pl.DataFrame({'a': values}).write_parquet(path),\n"
        "    'shutil': lambda path: shutil.copytree(folder / 'large', path),\n"
        "    'copy': lambda path: shutil.copyfile(folder / 'large' / 'file', path),\n"
        "    'python': lambda path: path.write_bytes(values.tobytes()),\n"
        "}\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        "try:\n"
        "    with atomic_path(folder / 'out') as partial:\n"
        "        do[sys.argv[2]](partial)\n"
        "except StorageError as error:\n"
        "    print(error)\n"
    )
    folder = "." if relative else str(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", code, folder, write], capture_output=True, text=True, cwd=tmp_path
    )
    out = "out" if relative else str(tmp_path / "out")
    assert done.stdout.startswith(f"{out}: the file is too large for the disk"), done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["large"]


def test_a_file_that_cannot_be_read_is_no_failing_disk(tmp_path):
    with pytest.raises(PermissionError), atomic_path(tmp_path / "out"):
        raise PermissionError(errno.EACCES, "denied", "/elsewhere/secret")


def test_of_a_copy_the_disk_that_is_written_to_is_named(tmp_path):
    with (
        pytest.raises(StorageError, match=r"out: the disk is full"),
        atomic_path(tmp_path / "out") as partial,
    ):
        raise OSError(
            errno.ENOSPC, "no space", "/elsewhere/release/parts", None, str(partial / "parts")
        )
    with pytest.raises(PermissionError), atomic_path(tmp_path / "out"):
        raise PermissionError(errno.EACCES, "denied", "/elsewhere/a", None, "/elsewhere/b")
