"""Folders behind a URL (object storage, web server, another file system): list, read and write.

fsspec does the work. Secrets stay where each protocol looks for them (environment, files in the
home folder). No message repeats the words of an error, which may hold a signed address or the name
of a patient's file.
"""

import errno
import os
import posixpath
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from hashlib import file_digest, sha256
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar
from urllib.parse import quote, unquote, urlsplit

from clintune.core.errors import ClintuneError, DataError, translate_errors

_THREADS = 16
_DIGESTS = ("etag", "md5hash", "md5checksum", "blobid", "sha", "contentmd5", "digest")
_TIMES = ("mtime", "lastmodified", "modifiedtime", "modificationtime", "lastwritetime", "modify")
_MARKS = (*_DIGESTS, *_TIMES, "updated", "created")
"""What tells two versions of a file apart, by protocol.

The first one that a listing has is used, together with the size.
"""
_GONE = (404, 410)
_DENIED = (401, 403)
_PASSWORD = re.compile(r"(?<=//)[^/@]*:[^/@]*@")
_QUERY = re.compile(r"[?#].*")
_T = TypeVar("_T")
_R = TypeVar("_R")


def is_remote(root: str) -> bool:
    """Return whether a cohort's root is a URL rather than a path."""
    return "://" in root


def redact(url: str) -> str:
    """Return a URL without password, query and fragment."""
    return _PASSWORD.sub("", _QUERY.sub("", url))


def has_secret(url: str) -> bool:
    """Return whether a URL carries a password or a query, which may be a signature."""
    return redact(url) != url


@dataclass(frozen=True, kw_only=True, slots=True)
class Version:
    """A remote file as it is now: `address` as fsspec names it, `size` in bytes.

    `seconds` is a modification time that stands for the version. It is a digest: equal content has
    equal times, and a change shows, however the remote names it and however coarse its clock is.
    None where the remote tells nothing.
    """

    address: str
    size: int | None
    seconds: int | None

    def is_at(self, path: Path) -> bool:
        """Return whether the local file `path` is this version."""
        try:
            stat = path.stat()
        except OSError:
            return False
        known = (self.size, self.seconds)
        return self.seconds is not None and (stat.st_size, int(stat.st_mtime)) == known


class Remote:
    """The folder at `url`.

    `key` is its name in the config, `storage` what fsspec gets beside the environment. Each method
    raises `error`, in one line that names key and URL, where the folder cannot be reached or read.
    """

    def __init__(
        self, key: str, url: str, storage: Mapping[str, Any], error: type[ClintuneError] = DataError
    ) -> None:
        self.key = key
        self.error = error
        self.url = url.rstrip("/")
        self.storage = dict(storage)
        self.is_web = urlsplit(url).scheme in ("http", "https")

    def tree(self, folder: str) -> dict[str, dict[str, Any]]:
        """Return fsspec's entry of each file below a folder, by path from the root.

        The result is empty where there is no such folder.
        """
        files: dict[str, dict[str, Any]] = {}
        folders = [folder]

        # fsspec's own walk leaves out what it cannot list: half a cohort could be missing.
        while folders:
            deeper: list[str] = []
            for entries in self.parallel(self.entries, folders):
                for path, entry in entries.items():
                    if entry["type"] == "directory":
                        if not _leads_back(entry):
                            deeper.append(path)
                    else:
                        files[path] = entry
            folders = deeper

        return files

    def entries(self, folder: str) -> dict[str, dict[str, Any]]:
        """Return fsspec's entry of each file and folder in a folder, by path from the root."""
        with self._access():
            try:
                listed = self._fs.ls(self._address(folder), detail=True)
                # Symbolic links are "other": what they lead to has to be asked for.
                entries = [self._fs.info(e["name"]) if e["type"] == "other" else e for e in listed]
            except FileNotFoundError as error:
                if not _is_gone(error):
                    raise
                return {}

        by_path = ((self._path(entry["name"]), entry) for entry in entries)
        return {path: entry for path, entry in by_path if path and path != folder}

    def version(self, path: str, entry: Mapping[str, Any] | None = None) -> Version | None:
        """Return the version of a file; None where there is no such file.

        `entry` is that of a listing; the remote is asked only where the entry does not tell enough.
        """
        with self._access():
            try:
                if entry is None or entry.get("size") is None or _mark(entry) is None:
                    entry = self._fs.info(entry["name"] if entry else self._address(path))
            except FileNotFoundError as error:
                if not _is_gone(error):
                    raise
                return None

        size, mark = entry.get("size"), _mark(entry)
        seconds = None
        if mark is not None:
            # Below 1.5e9 is a time long past: nothing takes the file for one that is being written.
            digest = sha256(f"{size} {mark}".encode()).hexdigest()
            seconds = int(digest, 16) % 1_500_000_000
        return Version(address=entry["name"], size=size, seconds=seconds)

    def fetch(self, version: Version, path: Path, scratch: Path) -> None:
        """Fetch a file to `path`, where it appears whole.

        `scratch` is a folder on the same disk, for the file while it is incomplete.
        """
        partial = scratch / sha256(str(path).encode()).hexdigest()
        with self._access():
            self._fs.get_file(version.address, str(partial))
            if version.size not in (None, partial.stat().st_size):
                raise FileNotFoundError(errno.ENOENT, "changed under way")

            if version.seconds is not None:
                os.utime(partial, (version.seconds, version.seconds))
            path.parent.mkdir(parents=True, exist_ok=True)
            partial.replace(path)

    def read(self, path: str) -> bytes | None:
        """Return the content of a small file; None where there is no such file."""
        with self._access():
            try:
                return bytes(self._fs.cat_file(self._address(path)))
            except FileNotFoundError as error:
                if not _is_gone(error):
                    raise
                return None

    def sha256(self, path: str) -> str:
        """Return the SHA-256 of a file as hexadecimal digits, reading all of it."""
        with self._access(), self._fs.open(self._address(path), "rb") as file:
            return file_digest(file, "sha256").hexdigest()

    def write(self, source: Path, path: str) -> None:
        """Write a local file to `path`, over what is there."""
        with self._access():
            address = self._address(path)
            self._fs.makedirs(address.rpartition("/")[0], exist_ok=True)
            self._fs.put_file(str(source), address)

    def parallel(
        self,
        do: Callable[[_T], _R],
        things: Sequence[_T],
        progress: Callable[[], Any] = lambda: None,
    ) -> list[_R]:
        """Return `do(thing)` for each thing, many at once; the first error stops the rest.

        `progress` is called after each.
        """
        if not things:
            return []
        with self._access():
            _ = self._fs  # connect here: fsspec would make one connection a thread

        with ThreadPoolExecutor(_THREADS) as pool:
            futures = [pool.submit(do, thing) for thing in things]
            try:
                for future in as_completed(futures):
                    future.result()
                    progress()
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        return [future.result() for future in futures]

    @cached_property
    def _fs(self) -> Any:
        from fsspec.core import url_to_fs

        storage = self.storage
        if self.is_web:
            from aiohttp import ClientTimeout

            # Proxies and ~/.netrc count. A large file may take longer than aiohttp's five minutes,
            # but silence may not.
            timeout = ClientTimeout(total=None, sock_connect=60, sock_read=60)
            usual = {"trust_env": True, "timeout": timeout}
            client = {**usual, **(storage.get("client_kwargs") or {})}
            storage = {**storage, "client_kwargs": client}

        fs, self._base = url_to_fs(self.url, **storage)
        fs.invalidate_cache()
        return fs

    def _address(self, path: str) -> str:
        root = self._fs._strip_protocol(self._base).rstrip("/")
        return f"{root}/{quote(path) if self.is_web else path}"

    def _path(self, address: str) -> str | None:
        """Return the path from the root for an address in a listing; None where it is not below."""
        base = self._address("")
        path = address.rstrip("/").removeprefix(base)
        if self.is_web:
            if "?" in path or "#" in path:  # links of a page that sort it
                return None
            path = unquote(path)
        is_relative = not path.startswith("/") and ".." not in PurePosixPath(path).parts
        return path if address.startswith(base) and is_relative else None

    def _access(self) -> AbstractContextManager[None]:
        return translate_errors(self.error, f"{self.key}: {redact(self.url)}", self._reason)

    def _reason(self, error: Exception) -> str:
        """Return what is wrong, and the remedy."""
        # fsspec wraps the error of a protocol, which knows the status.
        cause, kind = error.__cause__, type(error).__name__
        status = getattr(error, "status", getattr(cause, "status", None))
        scheme = urlsplit(self.url).scheme

        if isinstance(error, ImportError):
            package = cause.name if isinstance(cause, ImportError) and cause.name else "a package"
            return f"{package} is not installed; pip install {package}"
        if isinstance(error, ValueError) and "Protocol not known" in str(error):
            return f"'{scheme}' is no protocol that fsspec knows; correct the URL"

        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return "the disk is full; free some of it, or name another folder"
        is_denied = isinstance(error, PermissionError) or status in _DENIED
        if is_denied or re.search("Credential|Auth", kind):
            return (
                f"access is denied; set credentials where {scheme} looks for them: "
                "its environment or files"
            )
        if isinstance(error, FileNotFoundError) and _is_gone(error):
            return (
                "a file changed or vanished while it was read; try again when nobody writes there"
            )
        return (
            f"cannot be read ({kind}); check URL, settings and network, then try again: "
            "what was done is kept"
        )


def _mark(entry: Mapping[str, Any]) -> str | None:
    """Return what tells this version of a file from others; None where the remote tells nothing."""
    told = ((name, value) for name, value in entry.items() if value is not None)
    known = {re.sub(r"[-_]", "", str(name)).lower(): value for name, value in told}
    return next((f"{name}={known[name]}" for name in _MARKS if name in known), None)


def _leads_back(entry: Mapping[str, Any]) -> bool:
    """Return whether a folder is a link to one that it stands in, which is listed already."""
    if not entry.get("destination"):
        return False
    link, target = entry["name"], os.fsdecode(entry["destination"])
    there = posixpath.normpath(posixpath.join(posixpath.dirname(link), target))
    return PurePosixPath(link).is_relative_to(there)


def _is_gone(error: FileNotFoundError) -> bool:
    """Return whether a file is truly not there.

    fsspec's HTTP reports any failure as a missing file, and keeps the truth as its cause.
    """
    cause = error.__cause__
    if cause is None or isinstance(cause, FileNotFoundError):
        return True
    if type(cause).__module__.startswith("aiohttp"):
        return getattr(cause, "status", None) in _GONE
    return not isinstance(cause, OSError)
