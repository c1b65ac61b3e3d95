"""The cache: what is listed, what may go, and what stays because somebody uses it."""

import os
import signal
import subprocess
import sys
import time

import pytest

from clintune.cli import main
from clintune.core.errors import ConfigError
from clintune.core.files import atomic_path, write_json
from clintune.core.locks import exclusive_lock
from clintune.storage.cache_entries import TAG, entries, locks
from clintune.storage.cache_folder import claim, clear, evict, mark_used, open_cache, sweep
from clintune.storage.private import private_files

DAY = 86_400


@pytest.fixture
def cache(tmp_path):
    """Return a cache with folders of 1 MB last used 1, 2, 3 and 4 days ago, and statistics."""
    for days, name in enumerate(
        ("index/ward-1", "pieces/b", "index/clinic-2", "pieces/d"), start=1
    ):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        (folder / "data").write_bytes(bytes(1_000_000))
        about = {"name": f"owner {days}", "root": "/cohort", "source": "weights"}
        write_json(folder / ("index.json" if name.startswith("index") else "about.json"), about)
        (folder / ".used").touch()
        os.utime(folder / ".used", (time.time() - days * DAY,) * 2)
    write_json(tmp_path / "statistics" / "static-0.json", {})
    claim(tmp_path)
    os.utime(tmp_path / "statistics" / "static-0.json", (time.time() - 9 * DAY,) * 2)
    return tmp_path


def names(cache):
    return {path.parent.name + "/" + path.name for entry in entries(cache) for path in [entry.path]}


def start(code, cache):
    """Start a process that runs `code` and then waits; return it once it says that it is ready."""
    code = "import sys\nfrom pathlib import Path\ncache = Path(sys.argv[1])\n" + code
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(cache)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    return process


def test_beyond_the_limit_the_longest_unused_go_first(cache, capsys):
    evict(cache, None)
    assert len(entries(cache)) == 5
    evict(cache, 0.0025)
    assert names(cache) == {"index/ward-1", "pieces/b", "statistics/static-0.json"}
    assert capsys.readouterr().err.count("cache: removed 2 folders") == 1
    evict(cache, 0.0025)
    assert capsys.readouterr().err == ""


def test_what_this_or_another_process_uses_stays(cache):
    code = (
        "from clintune.storage.cache_folder import mark_used\n"
        "mark_used(cache / 'pieces/b')\nprint('ready', flush=True)\ninput()"
    )
    mark_used(cache / "index/clinic-2")
    for path in ("pieces/b", "index/clinic-2"):
        os.utime(cache / path / ".used", (0, 0))
    other = start(code, cache)
    os.utime(cache / "pieces/b" / ".used", (0, 0))
    evict(cache, 0)
    assert names(cache) == {"pieces/b", "index/clinic-2", "statistics/static-0.json"}
    gone, left = clear(cache, 0)
    assert [entry.owner for entry in gone] == ["static"]
    assert {(entry.path.name, why) for entry, why in left} == {
        (n, "a process uses it") for n in ("b", "clinic-2")
    }
    other.send_signal(signal.SIGKILL)
    other.communicate()
    evict(cache, 0)
    assert names(cache) == {"index/clinic-2"}


def test_only_what_was_not_used_lately_is_cleared_when_asked_so(cache):
    gone, left = clear(cache, 2.5)
    assert {entry.owner for entry in gone} == {"owner 3 (/cohort)", "owner 4 (weights)", "static"}
    assert {why for _, why in left} == {"used in the last 2.5 days"}
    assert names(cache) == {"index/ward-1", "pieces/b"}


def test_leftovers_of_a_killed_process_go_of_a_living_one_stay(cache):
    code = (
        "from clintune.core.files import atomic_path\n"
        "from clintune.core.locks import exclusive_lock\n"
        "with exclusive_lock(cache / 'pieces/b', 'b'), "
        "atomic_path(cache / 'pieces/b/x.safetensors') as partial:\n"
        "    partial.write_text('half')\n    print('ready', flush=True)\n    input()"
    )
    writer = start(code, cache)
    (leftover,) = (cache / "pieces/b").glob(".x*")
    evict(cache, None)
    assert clear(cache, 0)[0]
    assert leftover.exists()
    assert names(cache) == {"pieces/b"}
    writer.send_signal(signal.SIGKILL)
    writer.communicate()
    evict(cache, None)
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


def test_what_is_no_cache_is_never_cleared(tmp_path, capsys):
    for name in ("index/mine.txt", "pieces/p/mine.txt", "thesis.docx"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert main(["cache", str(tmp_path), "--clear"]) == 2
    assert "no cache of clintune (it has no CACHEDIR.TAG)" in capsys.readouterr().err
    with pytest.raises(
        ConfigError,
        match=r"data\.cache: .* holds thesis\.docx, which is not clintune's; name an empty",
    ):
        open_cache(str(tmp_path), shared=False)
    assert (tmp_path / "pieces/p/mine.txt").exists()


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("index/ward-1/index.json", b"{half"),
        ("index/ward-1/index.json", b"[1, 2]"),
        ("pieces/b/about.json", b"\xff\xfe"),
        (
            "pieces/b/about.json",
            b'{"name": "\\u001b]0;title\\u0007 [bold]", "source": "[/nothing]"}',
        ),
        ("packages/p/README.md", "# [/nothing] \x1b]0;title\x07 :smile: \u202e\n".encode()),
        ("packages/p/README.md", b"# \xff"),
        ("packages/a file", b"no package"),
    ],
)
def test_nothing_in_the_cache_ends_the_verb(cache, capsys, path, content):
    (cache / path).parent.mkdir(parents=True, exist_ok=True)
    (cache / path).write_bytes(content)
    assert main(["cache", str(cache)]) == 0
    printed = capsys.readouterr().out
    assert not {"\x1b", "\x07", "\u202e"} & set(printed)
    assert "[/nothing]" in printed or b"[/nothing]" not in content
    assert main(["cache", str(cache), "--clear"]) == 0
    assert not entries(cache)


def test_cohorts_and_copies_go_but_never_a_users_folder(cache, capsys):
    for name in ("cohorts/written", "cohorts/mine", "remote/far-1.mirror", "my_results"):
        (cache / name).mkdir(parents=True)
        (cache / name / "data").write_bytes(bytes(2_000_000))
    (cache / "cohorts/written/.source.json").write_text("{}")
    for name in ("cohorts/written", "cohorts/mine", "remote/far-1.mirror"):
        os.utime(cache / name, (0, 0))
    assert main(["cache", str(cache)]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    listed = {(words[0], words[1]) for words in lines}
    assert listed >= {
        ("cohorts", "0.002"),
        ("remote", "0.002"),
        ("other", "0.002"),
        ("all", "0.012"),
    }

    evict(cache, 0.0065)
    assert not (cache / "cohorts/written").exists()
    assert not (cache / "remote/far-1.mirror").exists()
    assert main(["cache", str(cache), "--clear"]) == 0
    assert "stays: cohorts mine: no `source` wrote it: it is yours\n" in capsys.readouterr().out
    assert (cache / "cohorts/mine/data").exists()
    assert (cache / "my_results/data").exists()


def test_locks_of_what_is_gone_are_swept_held_ones_stay(cache):
    for number in range(20):
        with exclusive_lock(cache / "statistics" / f"gone-{number}.json", "nothing"):
            pass
    code = (
        "from clintune.core.locks import exclusive_lock\n"
        "with exclusive_lock(cache / 'media/new.parquet', 'x'):\n"
        "    print('ready', flush=True)\n    input()"
    )
    holder = start(code, cache)
    with exclusive_lock(cache / "pieces/b", "b"):
        sweep(cache)
        assert [lock.name for lock in locks(cache)] == ["b.lock", "new.parquet.lock"]
    holder.kill()
    holder.communicate()
    sweep(cache)
    assert [lock.name for lock in locks(cache)] == ["b.lock"]
    clear(cache, 0)
    assert locks(cache) == []


def test_a_lock_swept_while_others_wait_lets_in_one_at_a_time(tmp_path):
    code = (
        "from clintune.core.locks import exclusive_lock\nprint('ready', flush=True)\n"
        "for _ in range(100):\n    with exclusive_lock(cache / 'statistics/x.json', 'x'):\n"
        "        count = cache / 'count'\n        before = int(count.read_text())\n"
        "        count.write_text(str(before + 1))"
    )
    (tmp_path / "statistics").mkdir()
    (tmp_path / "count").write_text("0")
    several = [start(code, tmp_path) for _ in range(3)]
    while any(process.poll() is None for process in several):
        sweep(tmp_path)
    for process in several:
        process.communicate()
    assert [process.returncode for process in several] == [0, 0, 0]
    assert (tmp_path / "count").read_text() == "300"


def modes(folder):
    """Return the permissions of a folder and all that is in it."""
    return {oct(path.stat().st_mode & 0o7777) for path in (folder, *folder.rglob("*"))}


@pytest.mark.parametrize(
    ("shared", "expected"), [(False, {"0o700", "0o600"}), (True, {"0o2770", "0o660"})]
)
def test_only_the_owner_reads_the_cache_or_its_group(tmp_path, capsys, shared, expected):
    before = os.umask(0o022)
    try:
        with private_files():
            cache = open_cache(str(tmp_path / "cache"), shared=shared)
            with exclusive_lock(cache / "statistics" / "x.json", "x"):
                write_json(cache / "statistics" / "x.json", {})
            (cache / "pieces" / "b").mkdir(parents=True)
            mark_used(cache / "pieces" / "b")
        assert os.umask(0o022) == 0o022
    finally:
        os.umask(before)
    assert modes(cache) == expected
    assert capsys.readouterr().err == ""


def test_a_caller_keeps_its_umask_and_gets_a_private_folder(tmp_path):
    before = os.umask(0o022)
    try:
        cache = open_cache(str(tmp_path / "cache"), shared=False)
        assert os.umask(0o022) == 0o022
        open_cache(str(tmp_path / "shared"), shared=True)
        assert os.umask(0o022) == 0o022
    finally:
        os.umask(before)
    assert modes(cache) == {"0o700", "0o644"}  # of the mark that it is a cache


def test_a_cache_that_others_can_read_is_said_once(tmp_path, capsys):
    cache = tmp_path / "old cache"
    (cache / "index").mkdir(parents=True)
    for folder in (cache, cache / "index"):
        folder.chmod(0o755)
    for _ in range(2):
        open_cache(str(cache), shared=False)
    said = capsys.readouterr().err
    command = f"chmod -R go-rwx '{cache}'"
    assert said.count(command) == 1
    assert main(["cache", str(cache)]) == 0
    assert command in capsys.readouterr().out
    subprocess.run(command, shell=True, check=True)
    assert main(["cache", str(cache)]) == 0
    assert "chmod" not in capsys.readouterr().out


def test_two_processes_may_claim_an_empty_folder_at_once(tmp_path):
    with atomic_path(tmp_path / TAG) as partial:  # the other process is writing it
        claim(tmp_path)
        partial.touch()
    assert (tmp_path / TAG).is_file()
