"""The Hugging Face Hub: the real client in its own processes, and a server of its protocol."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import run_python
from helpers.folders import contents
from helpers.hub_server import TOKEN, HubServer
from helpers.made_up_packages import FILES, digest, write_package

CLIENT = """
import json, sys
from pathlib import Path
from clintune.core.errors import ClintuneError
from clintune.hub.base import open_hub
for verb, address, place, options in json.loads(sys.argv[1]):
    try:
        print(getattr(open_hub(address, **options), verb)(Path(place)))
    except ClintuneError as error:
        print("refused:", error)
"""
FIRST, SECOND = (digest(FILES[f"member-{member}/parts.safetensors"]) for member in (0, 1))


@pytest.fixture
def hub(tmp_path, monkeypatch):
    with HubServer().running() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
        monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield server


@pytest.fixture
def package(tmp_path):
    return write_package(tmp_path / "package")


def steps(*words):
    """Return the arguments of a process that does (verb, address, folder, options) in turn."""
    return (
        "-c",
        CLIENT,
        json.dumps(
            [(verb, address, str(place), options) for verb, address, place, options in words]
        ),
    )


def client(*words):
    """Return the answer to each step of a new process."""
    done = run_python(*steps(*words))
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def send(address, folder, **options):
    return "send", address, folder, options


def fetch(address, cache, **options):
    return "fetch", address, cache, options


def published(hub, folder):
    """Return whether the main branch holds the package of a folder and nothing else."""
    return {
        path: it for path, it in hub.repositories["me/m"].head().items() if path != ".gitattributes"
    } == contents(folder)


def test_a_package_is_one_private_commit_and_comes_back(hub, package, tmp_path):
    [address] = client(send("hf://me/m", package))
    repository = hub.repositories["me/m"]
    assert repository.private
    assert published(hub, package)
    assert len(repository.commits) == 2
    assert address == f"hf://me/m@{repository.branches['main']}"

    fetched, again = client(
        fetch(address, tmp_path / "cache"), fetch("hf://me/m", tmp_path / "cache")
    )
    assert contents(Path(fetched)) == contents(package)
    assert again == fetched
    assert not any(path.is_symlink() for path in Path(fetched).rglob("*"))
    assert sorted(path for path, *_ in hub.fetched) == sorted(contents(package))
    kept = {path.name for path in (tmp_path / "cache" / "packages").iterdir()}
    assert kept == {Path(fetched).name, f"{Path(fetched).name}.lock"}


def test_a_repository_is_public_only_where_that_is_asked(hub, package):
    answers = client(
        send("hf://me/m", package, public=True),
        send("hf://me/m", package),
        send("hf://me/private", package),
        send("hf://me/private", package, public=True),
    )
    assert not hub.repositories["me/m"].private
    assert hub.repositories["me/private"].private
    assert "the repository is public, not private as asked" in answers[1]
    assert "the repository is private, not public as asked" in answers[3]


def test_the_same_content_makes_no_commit(hub, package, tmp_path):
    hub.add("me/m", {"pytorch_model.bin": b"pickle", "old/parts.safetensors": b"old"}, private=True)
    repository = hub.repositories["me/m"]
    first, again = client(send("hf://me/m", package), send("hf://me/m", package))
    assert first == again
    assert len(repository.commits) == 3
    assert published(hub, package)

    hub.sent.clear()
    client(send("hf://me/m", write_package(tmp_path / "new", README_md=b"# Another card\n")))
    assert len(repository.commits) == 4
    assert published(hub, tmp_path / "new")
    assert not {FIRST, SECOND} & {name for name, _ in hub.sent}


def test_a_branch_a_tag_and_a_commit_are_versions(hub, package, tmp_path):
    new = write_package(tmp_path / "new", README_md=b"# Another card\n")
    sent = client(
        send("hf://me/m", package, tag="v1"),
        send("hf://me/m", package, tag="v1"),
        send("hf://me/m", new, revision="next", tag="v2"),
    )
    assert sent == ["hf://me/m@v1", "hf://me/m@v1", "hf://me/m@v2"]

    repository = hub.repositories["me/m"]
    assert repository.tags == {"v1": repository.branches["main"], "v2": repository.branches["next"]}
    assert published(hub, package)

    old, *others = client(
        fetch("hf://me/m", tmp_path / "cache", revision="v1"),
        fetch("hf://me/m@v2", tmp_path / "cache"),
        fetch("hf://me/m@next", tmp_path / "cache"),
        fetch("hf://me/m", tmp_path / "cache", revision=repository.tags["v2"]),
    )
    assert contents(Path(old)) == contents(package)
    assert [contents(Path(other)) for other in others] == [contents(new)] * 3


def test_a_tag_does_not_move(hub, package, tmp_path):
    client(send("hf://me/m", package, tag="v1"))
    before = dict(hub.repositories["me/m"].branches)
    new = write_package(tmp_path / "new", README_md=b"# Another card\n")
    answers = client(
        send("hf://me/m", new, tag="v1"), send("hf://me/m", package, tag="v1", revision="next")
    )
    assert [answer.partition(": ")[2] for answer in answers] == [
        "hf://me/m: tag v1 stands on another commit; choose a new tag",
        "hf://me/m@next: tag v1 stands on another commit; choose a new tag",
    ]
    assert hub.repositories["me/m"].branches == before


def test_a_refused_upload_publishes_nothing_and_goes_on_later(hub, package):
    hub.refuse.add(SECOND)
    [answer] = client(send("hf://me/m", package, revision="next"))
    assert answer.startswith("refused: hf://me/m@next: the Hub refuses it (HTTP 400)")
    repository = hub.repositories["me/m"]
    assert set(repository.head("next")) == {".gitattributes"}
    assert [name for name, _ in hub.sent] == [FIRST]

    hub.refuse.clear()
    hub.sent.clear()
    client(send("hf://me/m", package, revision="next"))
    assert FIRST not in [name for name, _ in hub.sent]
    assert contents(package).items() <= repository.head("next").items()


def test_a_killed_process_publishes_nothing_and_goes_on_later(hub, package):
    hub.hold.add(SECOND)
    source = str(Path(__file__).parents[2] / "src")
    process = subprocess.Popen(
        [sys.executable, *steps(send("hf://me/m", package))],
        env={**os.environ, "PYTHONPATH": source},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    assert hub.held.wait(60)
    assert hub.stored.wait(60)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert set(hub.repositories["me/m"].head()) == {".gitattributes"}

    hub.hold.clear()
    hub.sent.clear()
    client(send("hf://me/m", package))
    assert FIRST not in [name for name, _ in hub.sent]
    assert sum(size for name, size in hub.sent if name == SECOND) == len(
        FILES["member-1/parts.safetensors"]
    )
    assert published(hub, package)


def test_a_connection_that_breaks_costs_one_more_try(hub, package):
    hub.broken.add(FIRST)
    client(send("hf://me/m", package))
    assert published(hub, package)
    assert [size for name, size in hub.sent if name == FIRST] == [
        len(FILES["member-0/parts.safetensors"])
    ]


def test_a_download_that_breaks_goes_on_where_it_was(hub, tmp_path):
    large = bytes(range(256)) * 96_000  # the client writes pieces of ten million bytes
    package = write_package(tmp_path / "package", **{"large.safetensors": large})
    hub.add("me/m", contents(package))
    hub.broken.add(digest(large))
    [fetched] = client(fetch("hf://me/m", tmp_path / "cache"))
    assert contents(Path(fetched)) == contents(package)
    (_, first, _), (_, second, size) = (it for it in hub.fetched if it[0] == "large.safetensors")
    assert first is None
    assert second == f"bytes={len(large) - size}-"
    assert size < len(large)


def test_a_stopped_fetch_leaves_no_package_and_goes_on(hub, package, tmp_path):
    hub.add("me/m", contents(package))
    hub.refuse.add(SECOND)
    [answer] = client(fetch("hf://me/m", tmp_path / "cache"))
    assert "access is denied" in answer
    assert [
        path.suffix for path in (tmp_path / "cache" / "packages").iterdir() if path.is_dir()
    ] == [".partial"]
    before = {path for path, *_ in hub.fetched}

    hub.refuse.clear()
    hub.fetched.clear()
    [fetched] = client(fetch("hf://me/m", tmp_path / "cache"))
    assert contents(Path(fetched)) == contents(package)
    assert "member-1/parts.safetensors" not in before
    assert {path for path, *_ in hub.fetched} == contents(package).keys() - before


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("member-0/model.bin", "member-0/model.bin is not listed in MANIFEST.json"),
        ("../evil.json", "'../evil.json' is no path inside a package"),
    ],
)
def test_a_listing_with_anything_else_is_refused_at_once(hub, package, tmp_path, path, message):
    hub.add("me/m", contents(package) | {path: b"{}"})
    [answer] = client(fetch("hf://me/m", tmp_path / "cache"))
    assert answer.startswith(f"refused: hf://me/m: {message}")
    assert [path for path, *_ in hub.fetched] == ["MANIFEST.json"]
    assert not list(tmp_path.rglob("evil.json"))


def test_without_a_network_what_was_fetched_is_still_there(hub, package, tmp_path, monkeypatch):
    hub.add("me/m", contents(package))
    [fetched] = client(fetch("hf://me/m", tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    answers = client(
        fetch("hf://me/m", tmp_path / "cache"),
        fetch("hf://me/other", tmp_path / "cache"),
        send("hf://me/m", package),
    )
    assert answers[0] == fetched
    assert answers[1].startswith("refused: hf://me/other: HF_HUB_OFFLINE is set; unset it")
    assert answers[2].startswith("refused: hf://me/m: HF_HUB_OFFLINE is set; unset it")


def test_each_refusal_of_the_hub_is_one_line_with_a_remedy(hub, package, tmp_path):
    hub.add("me/empty", {"config.json": b"{}"})
    hub.add("me/gated", contents(package)).gated = True
    cache = tmp_path / "cache"
    answers = client(
        fetch("hf://me/none", cache),
        fetch("hf://me/empty", cache, revision="v9"),
        fetch("hf://me/empty", cache),
        fetch("hf://me/gated", cache),
        send("hf://me/a--b", package),
        send(
            "hf://me/m",
            write_package(tmp_path / "card", README_md=b"---\nlicense: none-such\n---\n"),
        ),
    )

    for answer, reason in zip(
        answers,
        [
            "me/none: no such repository, or one that you may not see; "
            "check the name, set HF_TOKEN or run",
            "me/empty@v9: no such branch, tag or commit",
            "me/empty: no MANIFEST.json; clintune published no package there",
            "me/gated: gated; accept its terms on the Hub, "
            "then set HF_TOKEN or run `hf auth login`",
            "me/a--b: no name that the Hub takes",
            "me/m: the Hub refuses the metadata of README.md",
        ],
        strict=True,
    ):
        assert answer.startswith(f"refused: hf://{reason}")


def test_without_a_token_nothing_is_sent_nor_private_found(hub, package, tmp_path, monkeypatch):
    hub.add("me/m", contents(package), private=True)
    hub.add("me/open", contents(package))
    monkeypatch.delenv("HF_TOKEN")
    cache = tmp_path / "cache"
    answers = client(
        send("hf://me/n", package), fetch("hf://me/m", cache), fetch("hf://me/open", cache)
    )
    assert (
        answers[0] == "refused: hf://me/n: no token of the Hugging Face Hub; "
        "set HF_TOKEN or run `hf auth login`"
    )
    assert answers[1].startswith(
        "refused: hf://me/m: no such repository, or one that you may not see"
    )
    assert contents(Path(answers[2])) == contents(package)

    monkeypatch.setenv("HF_TOKEN", "hf_of_another")
    [answer] = client(send("hf://me/open", package, public=True, tag="v1"))
    assert answer.startswith("refused: hf://me/open: ")
    assert not hub.sent
