"""The local copy of a remote cohort, below `data.cache`: tables fetched when it is opened, media when they are read.

What is fetched is an ordinary cohort's folder; only what the remote has changed is fetched again. A file's modification
time says which version it is (`core.remote.Version`), so the copy needs no list of what it holds: any file or all of
it may be deleted.
"""

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

from datasets.utils import tqdm
from meds.schema import data_subdirectory

from clintune.cohort.labels import FOLDERS as LABELS
from clintune.cohort.records import record_files
from clintune.core.errors import DataError
from clintune.core.files import value_sha256, write_json
from clintune.core.locks import exclusive_lock
from clintune.storage.cache_folder import mark_used
from clintune.storage.remote import Remote, Version, is_remote, redact

_ABOUT = "remote.json"
_SUFFIX = ".mirror"
_TABLES = ("metadata", *LABELS)
"""Folders that hold tables beside those of the data."""


def local_root(root: str, cache: Path) -> Path:
    """Return the local folder of a cohort's root: the folder itself, or the copy of what is behind a URL."""
    if not is_remote(root):
        return Path(root).expanduser().resolve()
    url = root.rstrip("/")
    name = PurePosixPath(url).name.partition("?")[0]
    return cache.expanduser().resolve() / "remote" / f"{name}-{value_sha256(url)[:16]}{_SUFFIX}"


def open_mirror(
    key: str, url: str, storage: Mapping[str, Any], cache: Path, beside: Sequence[str]
) -> Path:
    """Bring the tables of a remote cohort up to date; return the local folder.

    `beside` names further tables, relative to the root. Of several processes one fetches. Raises DataError for a remote
    that cannot be reached or holds no table.
    """
    folder = local_root(url, cache)
    with exclusive_lock(folder, f"the copy of {redact(url)}"):
        folder.mkdir(exist_ok=True)
        mark_used(folder)
    mirror = Mirror(folder, Remote(key, url, storage))
    write_json(folder / _ABOUT, {"key": key, "url": url, "storage": dict(storage)})
    _mirror.cache_clear()
    mirror.update_tables(beside)
    return folder


def fetch_media(paths: Iterable[Path | None]) -> None:
    """Make media files of remote cohorts be here as they are there, fetching many at once; others stay as they are.

    A file that is not there remotely is not here afterwards. Raises DataError where the remote cannot be reached.
    """
    wanted: dict[Path, set[str]] = {}
    for path in paths:
        folder = None if path is None else _folder_of(path.parent)
        if path is not None and folder is not None:
            wanted.setdefault(folder, set()).add(path.relative_to(folder).as_posix())
    for folder, names in wanted.items():
        _mirror(folder, os.getpid()).update_media(names)


class Mirror:
    """The local copy `folder` of a remote cohort."""

    def __init__(self, folder: Path, remote: Remote) -> None:
        self.folder = folder
        self.remote = remote
        self._listed: dict[str, dict[str, dict[str, Any]]] = {}
        self._checked: set[str] = set()

    def update_tables(self, beside: Sequence[str]) -> None:
        """Fetch the tables that changed, delete those that are gone."""
        with self._locked() as scratch:
            remote = self.remote
            entries = {
                path: entry
                for path, entry in remote.tree(data_subdirectory).items()
                if _is_shard(path)
            }
            if not entries:
                raise DataError(
                    f"{remote.key}: {redact(remote.url)}: no {data_subdirectory}/**/*.parquet is listed there; correct "
                    "the URL, or let the server list its folders"
                )
            for folder in _TABLES:
                entries |= remote.tree(folder)
            names = [
                *entries,
                *(path for path in beside if _is_inside(path) and path not in entries),
            ]
            versions = self._versions(names, entries)
            for path in {*self._tables(), *names} - versions.keys():
                self._drop(path)
            self._fetch(versions, scratch)

    def update_media(self, paths: set[str]) -> None:
        """Fetch the media files that are missing or changed, delete those that are gone; each is checked once.

        The header of a WFDB record brings the files that it names, and those that the headers of its segments name.
        """
        new = paths - self._checked
        while new:
            self._update(new)
            self._checked |= new
            named = (file for path in new for file in record_files(self.folder / path))
            new = {file.relative_to(self.folder).as_posix() for file in named} - self._checked

    def _update(self, new: set[str]) -> None:
        """Make files be here as they are there."""
        # One listing tells the versions of many files, but for the web, where each must be asked for.
        self._list(set() if self.remote.is_web else {_parent(path) for path in new})
        entries = {
            path: entry for path in new if (entry := self._listed.get(_parent(path), {}).get(path))
        }
        there = (
            new
            if self.remote.is_web
            else {path for path in entries if entries[path]["type"] != "directory"}
        )
        versions = self._versions(sorted(there), entries)
        for path in new - versions.keys():
            self._drop(path)
        if not all(version.is_at(self.folder / path) for path, version in versions.items()):
            with self._locked() as scratch:
                self._fetch(versions, scratch)

    def _list(self, folders: set[str]) -> None:
        new = sorted(folders - self._listed.keys())
        self._listed |= zip(new, self.remote.parallel(self.remote.entries, new), strict=True)

    def _versions(
        self, paths: Sequence[str], entries: Mapping[str, Mapping[str, Any]]
    ) -> dict[str, Version]:
        """Return the version of each file that is there."""
        found = self.remote.parallel(
            lambda path: self.remote.version(path, entries.get(path)), paths
        )
        return {
            path: version for path, version in zip(paths, found, strict=True) if version is not None
        }

    def _fetch(self, versions: Mapping[str, Version], scratch: Path) -> None:
        """Fetch the files that are not here in their versions; the lock is held."""
        missing = [
            path for path, version in versions.items() if not version.is_at(self.folder / path)
        ]
        with tqdm(
            total=len(missing), desc="fetch", unit="file", disable=None if missing else True
        ) as bar:
            self.remote.parallel(
                lambda path: self.remote.fetch(versions[path], self.folder / path, scratch),
                missing,
                bar.update,
            )

    def _drop(self, path: str) -> None:
        if (self.folder / path).is_file():
            (self.folder / path).unlink(missing_ok=True)

    def _tables(self) -> Iterator[str]:
        """Yield the tables that are here; media may stand anywhere, but are no Parquet below data/."""
        for part in (data_subdirectory, *_TABLES):
            for file in (self.folder / part).rglob("*"):
                path = file.relative_to(self.folder).as_posix()
                if file.is_file() and (part != data_subdirectory or _is_shard(path)):
                    yield path

    @contextmanager
    def _locked(self) -> Iterator[Path]:
        """Hold the copy's lock; yield a folder for files under way, without what a killed process left there."""
        scratch = self.folder.with_suffix(".partial")
        with exclusive_lock(self.folder, f"the copy of {redact(self.remote.url)}"):
            shutil.rmtree(scratch, ignore_errors=True)
            scratch.mkdir()
            try:
                yield scratch
            finally:
                shutil.rmtree(scratch, ignore_errors=True)


@lru_cache(maxsize=64)
def _mirror(folder: Path, process: int) -> Mirror:
    """Return the mirror in a folder; each process has its own, as connections do not survive a fork."""
    about = json.loads((folder / _ABOUT).read_text(encoding="utf-8"))
    return Mirror(folder, Remote(about["key"], about["url"], about["storage"]))


@lru_cache(maxsize=65_536)
def _folder_of(path: Path) -> Path | None:
    """Return the mirror that a folder stands in, by its name alone: local cohorts pay no look at the disk."""
    found = (parent for parent in (path, *path.parents) if parent.suffix == _SUFFIX)
    return next((folder for folder in found if (folder / _ABOUT).is_file()), None)


def _parent(path: str) -> str:
    parent = PurePosixPath(path).parent.as_posix()
    return "" if parent == "." else parent


def _is_shard(path: str) -> bool:
    return path.endswith(".parquet")


def _is_inside(path: str) -> bool:
    parts = PurePosixPath(path)
    return not parts.is_absolute() and ".." not in parts.parts
