"""The cache: what is listed, what may go, and what stays because somebody uses it."""

import os
import signal
import subprocess
import sys
import time

import pytest

from clintune.cli import main
from clintune.core.cache_folder import clear, entries, in_use, make_room
from clintune.core.files import write_json

DAY = 86_400


@pytest.fixture
def cache(tmp_path):
    """Return a cache with folders of 1 MB last used 1, 2, 3 and 4 days ago, and statistics."""
    for days, name in enumerate(("index/ward-1", "pieces/b", "index/clinic-2", "pieces/d"), start=1):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        (folder / "data").write_bytes(bytes(1_000_000))
        about = {"name": f"owner {days}", "root": "/cohort", "source": "weights"}
        write_json(folder / ("index.json" if name.startswith("index") else "about.json"), about)
        (folder / ".used").touch()
        os.utime(folder / ".used", (time.time() - days * DAY,) * 2)
    write_json(tmp_path / "statistics" / "static-0.json", {})
    os.utime(tmp_path / "statistics" / "static-0.json", (time.time() - 9 * DAY,) * 2)
    return tmp_path


def names(cache):
    return {path.parent.name + "/" + path.name for entry in entries(cache) for path in [entry.path]}


def start(code, cache):
    """Start a process that runs `code` and then waits; return it once it says that it is ready."""
    code = "import sys\nfrom pathlib import Path\ncache = Path(sys.argv[1])\n" + code
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(cache)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "ready\n"
    return process


def test_beyond_the_limit_the_longest_unused_go_first(cache, capsys):
    make_room(cache, None)
    assert len(entries(cache)) == 5
    make_room(cache, 0.0025)
    assert names(cache) == {"index/ward-1", "pieces/b", "statistics/static-0.json"}
    assert capsys.readouterr().err.count("cache: removed 2 folders") == 1
    make_room(cache, 0.0025)
    assert capsys.readouterr().err == ""


def test_what_this_or_another_process_uses_stays(cache):
    code = (
        "from clintune.core.cache_folder import in_use\nin_use(cache / 'pieces/b')\nprint('ready', flush=True)\ninput()"
    )
    in_use(cache / "index/clinic-2")
    for path in ("pieces/b", "index/clinic-2"):
        os.utime(cache / path / ".used", (0, 0))
    other = start(code, cache)
    os.utime(cache / "pieces/b" / ".used", (0, 0))
    make_room(cache, 0)
    assert names(cache) == {"pieces/b", "index/clinic-2", "statistics/static-0.json"}
    other.send_signal(signal.SIGKILL)
    other.communicate()
    make_room(cache, 0)
    assert names(cache) == {"index/clinic-2", "statistics/static-0.json"}


def test_only_what_was_not_used_lately_is_cleared_when_asked_so(cache):
    assert {entry.owner for entry in clear(cache, 2.5)} == {"owner 3 (/cohort)", "owner 4 (weights)", "static"}
    assert names(cache) == {"index/ward-1", "pieces/b"}


def test_leftovers_of_a_killed_process_go_and_those_of_a_living_one_stay(cache):
    code = (
        "from clintune.core.files import atomic_path\nfrom clintune.core.locks import only_one\n"
        "with only_one(cache / 'pieces/b', 'b'), atomic_path(cache / 'pieces/b/x.safetensors') as partial:\n"
        "    partial.write_text('half')\n    print('ready', flush=True)\n    input()"
    )
    writer = start(code, cache)
    (leftover,) = (cache / "pieces/b").glob(".x*")
    make_room(cache, None)
    assert clear(cache, 0)
    assert leftover.exists()
    assert names(cache) == {"pieces/b"}
    writer.send_signal(signal.SIGKILL)
    writer.communicate()
    make_room(cache, None)
    assert not leftover.exists()
    assert (cache / "pieces/b/data").exists()


def test_the_verb_lists_and_clears(cache, capsys):
    assert main(["cache", str(cache)]) == 0
    printed = capsys.readouterr().out
    assert "owner 1 (/cohort)" in printed
    assert "owner 2 (weights)" in printed
    assert main(["cache", str(cache), "--older-than", "3"]) == 2
    assert main(["cache", str(cache), "--clear"]) == 0
    assert "freed 0.004 GB: 5 entries; 0 are left" in capsys.readouterr().out
    assert main(["cache", str(cache / "nowhere")]) == 2
