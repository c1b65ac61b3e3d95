"""The local copy of a remote cohort, below `data.cache`.

Tables are fetched when the cohort is opened, media when they are read. The copy is an ordinary
cohort folder, and only what changed at the remote is fetched again. A file's modification time says
which version it is (`storage.remote.Version`). So the copy needs no list of its content: any file,
or all of it, may be deleted. fsspec's own `filecache` is not used: it names files by hashes, writes
them in place without a lock, and keeps what is gone at the remote.
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
"""Folders that hold tables, beside that of the data."""


def local_root(root: str, cache: Path) -> Path:
    """Return the local folder of a cohort: its root, or the copy of a root that is a URL."""
    if not is_remote(root):
        return Path(root).expanduser().resolve()

    url = root.rstrip("/")
    name = PurePosixPath(url).name.partition("?")[0]
    return cache.expanduser().resolve() / "remote" / f"{name}-{value_sha256(url)[:16]}{_SUFFIX}"


def open_mirror(
    key: str, url: str, storage: Mapping[str, Any], cache: Path, beside: Sequence[str]
) -> Path:
    """Bring the tables of a remote cohort up to date; return the local folder.

    `beside` names further tables, relative to the root. Of several processes one fetches. Raises
    DataError where the remote cannot be reached or holds no table.
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
    """Bring media files of remote cohorts up to date, many at once; local files stay as they are.

    A file that the remote does not have is deleted here. Raises DataError where the remote cannot
    be reached.
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
        """Fetch the tables that changed, and delete those that are gone."""
        with self._locked() as scratch:
            remote = self.remote
            listed = remote.tree(data_subdirectory)
            entries = {path: entry for path, entry in listed.items() if _is_shard(path)}
            if not entries:
                raise DataError(
                    f"{remote.key}: {redact(remote.url)}: no {data_subdirectory}/**/*.parquet is "
                    "listed there; correct the URL, or let the server list its folders"
                )

            for folder in _TABLES:
                entries |= remote.tree(folder)

            # Tables beside the data, which the remote may lack.
            others = (path for path in beside if _is_inside(path) and path not in entries)
            names = [*entries, *others]

            versions = self._versions(names, entries)
            for path in {*self._tables(), *names} - versions.keys():
                self._delete(path)
            self._fetch(versions, scratch)

    def update_media(self, paths: set[str]) -> None:
        """Fetch the media files that are missing or changed, and delete those that are gone.

        Each file is checked once. The header of a WFDB record brings the files that it names, and
        those that the headers of its segments name.
        """
        new = paths - self._checked
        while new:
            self._update(new)
            self._checked |= new
            named = (file for path in new for file in record_files(self.folder / path))
            new = {file.relative_to(self.folder).as_posix() for file in named} - self._checked

    def _update(self, new: set[str]) -> None:
        """Bring some files up to date."""
        is_web = self.remote.is_web
        # One listing tells the versions of many files; only on the web each file is asked for.
        self._list(set() if is_web else {_parent(path) for path in new})
        listed = {path: self._listed.get(_parent(path), {}).get(path) for path in new}
        entries = {path: entry for path, entry in listed.items() if entry}

        files = {path for path, entry in entries.items() if entry["type"] != "directory"}
        versions = self._versions(sorted(new if is_web else files), entries)
        for path in new - versions.keys():
            self._delete(path)

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
        pairs = zip(paths, found, strict=True)
        return {path: version for path, version in pairs if version is not None}

    def _fetch(self, versions: Mapping[str, Version], scratch: Path) -> None:
        """Fetch the files that are not here in their versions; the caller holds the lock."""
        folder, remote = self.folder, self.remote
        pairs = versions.items()
        missing = [path for path, version in pairs if not version.is_at(folder / path)]

        def fetch(path: str) -> None:
            remote.fetch(versions[path], folder / path, scratch)

        hidden = None if missing else True  # None shows the bar on a terminal alone
        with tqdm(total=len(missing), desc="fetch", unit="file", disable=hidden) as bar:
            remote.parallel(fetch, missing, bar.update)

    def _delete(self, path: str) -> None:
        if (self.folder / path).is_file():
            (self.folder / path).unlink(missing_ok=True)

    def _tables(self) -> Iterator[str]:
        """Yield the tables that are here.

        Media may stand in any folder, but none is a Parquet file below data/.
        """
        for part in (data_subdirectory, *_TABLES):
            for file in (self.folder / part).rglob("*"):
                path = file.relative_to(self.folder).as_posix()
                if file.is_file() and (part != data_subdirectory or _is_shard(path)):
                    yield path

    @contextmanager
    def _locked(self) -> Iterator[Path]:
        """Hold the copy's lock; yield an empty folder for files that are being fetched."""
        scratch = self.folder.with_suffix(".partial")
        with exclusive_lock(self.folder, f"the copy of {redact(self.remote.url)}"):
            # A killed process may have left files there.
            shutil.rmtree(scratch, ignore_errors=True)
            scratch.mkdir()
            try:
                yield scratch
            finally:
                shutil.rmtree(scratch, ignore_errors=True)


@lru_cache(maxsize=64)
def _mirror(folder: Path, process: int) -> Mirror:
    """Return the mirror in a folder; each process has its own, as no connection survives a fork."""
    about = json.loads((folder / _ABOUT).read_text(encoding="utf-8"))
    return Mirror(folder, Remote(about["key"], about["url"], about["storage"]))


@lru_cache(maxsize=65_536)
def _folder_of(path: Path) -> Path | None:
    """Return the mirror in which a folder stands.

    It is told by its name, so that local cohorts cost no look at the disk.
    """
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
