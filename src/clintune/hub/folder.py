"""Hubs in a plain folder, or in a folder behind any URL that fsspec opens."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from clintune.core.errors import PackageError
from clintune.core.files import atomic_path, sweep_leftovers
from clintune.core.locks import exclusive_lock, lock_of
from clintune.package.manifest import (
    MANIFEST,
    check_listing,
    fetch_whole,
    holds,
    local_manifest,
    read_manifest,
)
from clintune.storage.remote import Remote, redact


class FolderHub:
    """A hub whose package stands in the folder `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def send(self, folder: Path) -> str:
        """Copy the package atomically; return the absolute path.

        Raises PackageError where something else stands.
        """
        manifest = local_manifest(folder)
        if self._holds(manifest):
            return str(self.path.absolute())

        with exclusive_lock(self.path, "the package there") as waited:
            try:
                sweep_leftovers(self.path)
                if not (waited and self._holds(manifest)):
                    self._copy(folder, manifest)
            finally:
                # The lock is still held: a process that waits for its file makes a new one.
                lock_of(self.path).unlink(missing_ok=True)
        return str(self.path.absolute())

    def _holds(self, manifest: Mapping[str, str]) -> bool:
        """Return whether the package is there already; PackageError where something else stands."""
        if (self.path / MANIFEST).is_file() and local_manifest(self.path) == manifest:
            return True
        if self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            raise _occupied(str(self.path))
        return False

    def _copy(self, folder: Path, manifest: Mapping[str, str]) -> None:
        with atomic_path(self.path) as partial:
            for name in (*manifest, MANIFEST):
                (partial / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(folder / name, partial / name)

    def fetch(self, cache: Path) -> Path:
        """Return the folder as it is: the folder of a run may be loaded, too."""
        del cache
        if not self.path.is_dir():
            raise PackageError(
                f"{self.path}: no such folder; give a folder, org/name, models:/name or a URL"
            )
        return self.path


class UrlHub:
    """A hub whose package stands at `url`.

    The manifest is written last: without a manifest there is no package.
    """

    def __init__(self, url: str) -> None:
        self.remote = Remote("hub", url, {}, error=PackageError)
        self.where = redact(url)

    def send(self, folder: Path) -> str:
        """Send the files that are missing there; PackageError where something else stands."""
        remote = self.remote
        if remote.is_web:
            raise PackageError(
                f"{self.where}: web servers take no packages; give a folder or a storage, as "
                "s3://..."
            )

        # See what stands there.
        manifest = local_manifest(folder)
        there, listing = remote.read(MANIFEST), remote.tree("")
        is_other = there is not None and read_manifest(self.where, there) != manifest
        if is_other or listing.keys() - {*manifest, MANIFEST}:
            raise _occupied(self.where)

        # Send the files in parallel, and the manifest last.
        def send(name: str) -> None:
            if name not in listing or remote.sha256(name) != manifest[name]:
                remote.write(folder / name, name)

        remote.parallel(send, list(manifest))
        if there is None:
            remote.write(folder / MANIFEST, MANIFEST)
        return self.where

    def fetch(self, cache: Path) -> Path:
        """Fetch the package into `cache`; what an interrupted call fetched is kept."""
        content = self.remote.read(MANIFEST)
        if content is None:
            raise PackageError(
                f"{self.where}: no {MANIFEST}; no package was published there to the end"
            )
        return fetch_whole(cache, self.where, content, self._download)

    def _download(self, folder: Path, manifest: Mapping[str, str]) -> None:
        # Few web servers list folders; from a web server only the files of the manifest come.
        if not self.remote.is_web:
            check_listing(self.where, manifest, self.remote.tree(""))

        scratch = folder / ".scratch"
        scratch.mkdir(exist_ok=True)

        def fetch(name: str) -> None:
            if not holds(folder / name, manifest[name]) and (version := self.remote.version(name)):
                self.remote.fetch(version, folder / name, scratch)

        self.remote.parallel(fetch, list(manifest))
        shutil.rmtree(scratch)


def _occupied(where: str) -> PackageError:
    return PackageError(
        f"{where}: something else stands there; publish to a path of its own, as .../name/v2"
    )
