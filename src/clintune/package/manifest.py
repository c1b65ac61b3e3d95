"""The manifest of a package: MANIFEST.json lists its files with their SHA-256.

A package holds safetensors and text only. A hub knows no more of it.
"""

import json
import re
import shutil
from collections.abc import Callable, Iterable, Mapping
from hashlib import sha256
from pathlib import Path

from clintune.core.errors import PackageError
from clintune.core.files import atomic_path, file_sha256, write_json
from clintune.core.locks import exclusive_lock
from clintune.core.paths import check_name, writable_folder
from clintune.core.text import visible
from clintune.storage.cache_folder import claim

MANIFEST = "MANIFEST.json"
KINDS = (".safetensors", ".json", ".yaml", ".md")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_LONGEST_PATH = 1000
_MOST_BYTES = 2**22


def check_paths(where: str, paths: Iterable[str]) -> None:
    """Raise PackageError for a path that could leave its folder on any system.

    `where` names the package in the error.
    """
    for path in paths:
        try:
            check_name(path, where, PackageError, nested=True, hidden=True)
            plain = ":" not in path and len(path) <= _LONGEST_PATH
        except PackageError:
            plain = False
        if not plain:
            raise PackageError(
                f"{where}: '{visible(path)[:200]}' is no path inside a package; do not use it"
            )


def write_manifest(folder: Path) -> None:
    """Write the SHA-256 of every file below `folder` into its manifest."""
    found = (path for path in folder.rglob("*") if path.is_file() and path != folder / MANIFEST)
    hashes = {path.relative_to(folder).as_posix(): file_sha256(path) for path in sorted(found)}
    write_json(folder / MANIFEST, hashes)


def read_manifest(where: str, content: bytes) -> dict[str, str]:
    """Return the SHA-256 of each file that a manifest lists, by path.

    Raises PackageError for a text that is no manifest, a path that leaves the package, and a kind
    of file that could run code.
    """
    if len(content) > _MOST_BYTES:
        raise PackageError(f"{where}: {MANIFEST} is too large; do not use the package")
    try:
        listed = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise PackageError(f"{where}: {MANIFEST} is not JSON; publish the package again") from error

    # It maps paths inside the package, of safe kinds, to checksums.
    if not isinstance(listed, dict) or not all(map(_is_digest, listed.values())):
        raise PackageError(
            f"{where}: {MANIFEST} does not list files with their SHA-256; publish the package again"
        )
    check_paths(where, listed)
    for path in listed:
        if not path.endswith(KINDS):
            raise PackageError(
                f"{where}: {visible(path)} is no safetensors or text file and could run code; "
                "do not use it"
            )
    return listed


def check_listing(where: str, manifest: Mapping[str, str], listing: Iterable[str]) -> None:
    """Raise PackageError for a file that stands beside a package's own."""
    listed = set(listing) - {MANIFEST}
    check_paths(where, sorted(listed))
    if foreign := sorted(listed - manifest.keys()):
        raise PackageError(
            f"{where}: {foreign[0]} is not listed in {MANIFEST}; remove it, or use another package"
        )


def local_manifest(folder: Path) -> dict[str, str]:
    """Return the manifest of a local package, and verify every file.

    Raises PackageError where there is none, or a file is missing, changed or not listed.
    """
    if not (folder / MANIFEST).is_file() or (folder / MANIFEST).is_symlink():
        raise PackageError(f"{folder}: no {MANIFEST}; this is not a package that clintune wrote")
    manifest = read_manifest(str(folder), (folder / MANIFEST).read_bytes())
    check_files(str(folder), folder, manifest)
    return manifest


def check_files(where: str, folder: Path, manifest: Mapping[str, str]) -> None:
    """Raise PackageError unless a folder holds exactly the files of a manifest."""
    found = (path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    check_listing(where, manifest, (path.relative_to(folder).as_posix() for path in found))
    for path, digest in manifest.items():
        if not holds(folder / path, digest):
            raise PackageError(
                f"{where}: {path} is missing or changed (SHA-256 differs); fetch it again, "
                "or publish it anew"
            )


def holds(path: Path, digest: str) -> bool:
    """Return whether a path is a plain file with this SHA-256."""
    return path.is_file() and not path.is_symlink() and file_sha256(path) == digest


def fetch_whole(
    cache: Path, where: str, content: bytes, download: Callable[[Path, Mapping[str, str]], object]
) -> Path:
    """Return the folder below `cache` with the package of the manifest `content`, verified.

    If it is missing, `download(folder, manifest)` fetches its files into a folder that still holds
    the files of an interrupted download. Of several processes one downloads. Raises PackageError
    where the files are not those of the manifest.
    """
    manifest = read_manifest(where, content)
    folder = cache / "packages" / sha256(content).hexdigest()[:32]
    partial = folder.with_suffix(".partial")
    claim(writable_folder(str(cache), "CLINTUNE_CACHE"))

    # Download beside the final folder, verify, then rename.
    with exclusive_lock(folder, f"the copy of {where}"):
        if not folder.exists():
            partial.mkdir(exist_ok=True)
            download(partial, manifest)
            (partial / MANIFEST).write_bytes(content)
            try:
                check_files(where, partial, manifest)
            except PackageError:
                shutil.rmtree(partial)  # the next download must not keep wrong files
                raise
            with atomic_path(folder) as whole:
                partial.rename(whole)
    return folder


def _is_digest(value: object) -> bool:
    return isinstance(value, str) and _DIGEST.fullmatch(value) is not None
