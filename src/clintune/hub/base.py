"""The hub interface, and the one function that opens a hub from an address."""

import re
from pathlib import Path
from typing import Protocol

from clintune.core.errors import ConfigError, PackageError
from clintune.core.text import visible
from clintune.hub.folder import FolderHub, UrlHub
from clintune.hub.huggingface import HuggingFaceHub
from clintune.hub.mlflow import MLflowHub
from clintune.storage.remote import is_remote

_REPOSITORY = re.compile(r"(?P<name>\w[\w.-]*/\w[\w.-]*)(@(?P<revision>[^@\s]+))?", re.ASCII)
_HALF_URL = re.compile(r"(?!models:)[A-Za-z][\w+.-]*:(?!//)", re.ASCII)
"""A scheme with too few slashes, which would pass for the name of a folder."""
_MODEL = re.compile(r"models:/(?P<name>[\w.-]+)(/(?P<version>\d+)|@(?P<alias>[\w-]+))?")


class Hub(Protocol):
    """A place where one package lives in one or several versions."""

    def send(self, folder: Path) -> str:
        """Send the package in `folder`; return the address from which this version can be fetched.

        A version becomes visible only when all of it is there. A second call after an interruption
        sends only what is missing. Raises PackageError.
        """

    def fetch(self, cache: Path) -> Path:
        """Return a local folder with exactly the files of the package.

        It is below `cache`, unless the package lives in a folder. Raises PackageError.
        """


def open_hub(
    address: str, *, revision: str | None = None, tag: str | None = None, public: bool = False
) -> Hub:
    """Open the hub at an address: `hf://org/name`, `models:/name`, a folder, or a URL for fsspec.

    `revision` is a branch to send to, or a branch, tag or commit to fetch; it may stand in the
    address, as in `hf://org/name@v1`. `tag` names the version that is sent. Raises ConfigError for
    an address of no hub, and for options that the hub lacks.
    """
    # Refuse what is no address.
    if _HALF_URL.match(address):
        scheme, _, rest = address.partition(":")
        meant = f"{scheme}://{rest.lstrip('/')}"
        raise ConfigError(
            f"hub {address}: is no address; write {meant}, or ./{address} for a folder of that name"
        )
    if public and not address.startswith("hf://"):
        raise ConfigError(f"hub {address}: public is an option of hf:// alone; leave it out")

    if address.startswith("hf://"):
        return _huggingface(address, revision, tag, public)
    if address.startswith("models:"):
        return _mlflow(address, revision, tag)
    if revision or tag:
        raise ConfigError(
            f"hub {address}: a folder has no revision and tag; put the version into the path"
        )
    return UrlHub(address) if is_remote(address) else FolderHub(Path(address).expanduser())


def source_of(text: str) -> str:
    """Return the address to load a package from: `org/name` is on the Hub unless it is a folder.

    This is for loading only: a package is sent to the Hugging Face Hub only if the address says
    `hf://`. Raises PackageError for a text that can be no address.
    """
    try:
        is_here = Path(text).expanduser().exists()
    except (OSError, RuntimeError) as error:  # too long, not allowed, or the home of nobody
        raise PackageError(f"{visible(text)[:200]}: is no folder or address; give one") from error
    return text if is_here or not _REPOSITORY.fullmatch(text) else f"hf://{text}"


def _huggingface(
    address: str, revision: str | None, tag: str | None, public: bool
) -> HuggingFaceHub:
    found = _REPOSITORY.fullmatch(address.removeprefix("hf://"))
    if not found:
        raise ConfigError(
            f"hub {address}: no repository of the Hugging Face Hub; give hf://organisation/name"
        )
    if revision and found["revision"] not in (None, revision):
        raise ConfigError(
            f"hub {address}: the address and revision={revision} differ; give one of the two"
        )
    return HuggingFaceHub(
        found["name"], revision=revision or found["revision"], tag=tag, public=public
    )


def _mlflow(address: str, revision: str | None, tag: str | None) -> MLflowHub:
    found = _MODEL.fullmatch(address)
    if not found:
        raise ConfigError(
            f"hub {address}: no registered model; give models:/name, models:/name/3 or "
            "models:/name@alias"
        )
    if revision:
        raise ConfigError(
            f"hub {address}: MLflow numbers versions, it has no revision; give models:/name/3"
        )
    return MLflowHub(found["name"], version=found["version"], alias=found["alias"], tag=tag)
