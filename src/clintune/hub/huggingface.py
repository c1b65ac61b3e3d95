"""The Hugging Face Hub: a package is the whole content of a model repository at a commit."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from clintune.core.errors import PackageError, translate_errors
from clintune.core.files import file_sha256
from clintune.package.manifest import MANIFEST, check_listing, fetch_whole, local_manifest

if TYPE_CHECKING:
    from huggingface_hub import HfApi, RepoFile

_OF_GIT = ".gitattributes"
_LOG_IN = "set HF_TOKEN or run `hf auth login`"


class HuggingFaceHub:
    """A hub in the model repository `repository` (organisation/name), private unless `public`.

    `revision` is the branch to send to, or the branch, tag or commit to fetch. `tag` is set on the
    commit that was sent. `huggingface_hub` finds the token: in HF_TOKEN, or by `hf auth login`.
    """

    def __init__(
        self,
        repository: str,
        *,
        revision: str | None = None,
        tag: str | None = None,
        public: bool = False,
    ) -> None:
        self.repository = repository
        self.revision = revision
        self.tag = tag
        self.public = public
        self.where = f"hf://{repository}" + (f"@{revision}" if revision else "")

    def send(self, folder: Path) -> str:
        """Send the package as one commit; what an interrupted call uploaded is not sent again."""
        manifest = local_manifest(folder)
        with translate_errors(PackageError, self.where, _reason):
            from huggingface_hub import HfApi, get_token

            if get_token() is None:
                raise PackageError(f"{self.where}: no token of the Hugging Face Hub; {_LOG_IN}")
            api = HfApi(library_name="clintune")

            # See which branches and tags there are.
            self._make_repository(api)
            refs = api.list_repo_refs(self.repository)
            heads = {ref.name: ref.target_commit for ref in refs.branches}
            tags = {ref.name: ref.target_commit for ref in refs.tags}

            # A new branch starts at the first commit. That one holds no package, so nobody takes an
            # older package for the new one.
            branch = self.revision or "main"
            head = heads.get(branch) or api.list_repo_commits(self.repository)[-1].commit_id
            files = _files(api, self.repository, head)
            commit = head if _equal(folder, manifest, files) else None
            if self.tag in tags and tags[self.tag] != commit:
                raise PackageError(
                    f"{self.where}: tag {self.tag} stands on another commit; choose a new tag"
                )

            # Send what is not there yet.
            if branch not in heads:
                api.create_branch(self.repository, branch=branch, revision=head)
            commit = commit or self._commit(api, folder, manifest, files, head)
            if self.tag and self.tag not in tags:
                api.create_tag(self.repository, tag=self.tag, revision=commit)
        return f"hf://{self.repository}@{self.tag or commit}"

    def fetch(self, cache: Path) -> Path:
        """Fetch the package into `cache`.

        Without a network the copy in `cache` serves, if this revision was fetched before.
        """
        with translate_errors(PackageError, self.where, _reason):
            from huggingface_hub import HfApi

            api = HfApi(library_name="clintune")
            commit = api.resolve_revision(self.repository, revision=self.revision).resolved
            manifest_file = api.hf_hub_download(self.repository, MANIFEST, revision=commit)
            content = Path(manifest_file).read_bytes()

            def download(folder: Path, manifest: Mapping[str, str]) -> None:
                check_listing(self.where, manifest, _files(api, self.repository, commit))
                api.snapshot_download(
                    self.repository, revision=commit, local_dir=folder, ignore_patterns=[_OF_GIT]
                )
                # Remove the notes of huggingface_hub for a call after an interruption.
                shutil.rmtree(folder / ".cache")

            return fetch_whole(cache, self.where, content, download)

    def _make_repository(self, api: "HfApi") -> None:
        """Make the repository where there is none.

        Raises PackageError where it exists and is not private, or public, as asked.
        """
        from huggingface_hub.errors import RepositoryNotFoundError

        try:
            private = bool(api.model_info(self.repository).private)
        except RepositoryNotFoundError:
            api.create_repo(self.repository, private=not self.public)
            return

        if private == self.public:
            found, asked = ("private", "public") if private else ("public", "private")
            remedy = "change it on the Hub, or ask for what it is"
            raise PackageError(
                f"{self.where}: the repository is {found}, not {asked} as asked; {remedy}"
            )

    def _commit(
        self,
        api: "HfApi",
        folder: Path,
        manifest: Mapping[str, str],
        files: "Mapping[str, RepoFile]",
        head: str,
    ) -> str:
        """Make the package the whole content of the branch; return the commit.

        It is one commit on top of `head`.
        """
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        # Files of an older package that this one lacks are deleted.
        names = (*manifest, MANIFEST)
        foreign = sorted(files.keys() - set(names))
        add = [
            CommitOperationAdd(path_in_repo=name, path_or_fileobj=folder / name) for name in names
        ]
        drop = [CommitOperationDelete(path_in_repo=name) for name in foreign]

        info = api.create_commit(
            self.repository,
            [*drop, *add],
            commit_message="Publish with clintune",
            revision=self.revision,
            parent_commit=head,
        )
        return info.oid


def _files(api: "HfApi", repository: str, commit: str) -> "dict[str, RepoFile]":
    """Return the files of a commit by path, without the file of git itself."""
    from huggingface_hub import RepoFile

    entries = api.list_repo_tree(repository, recursive=True, revision=commit)
    return {
        entry.path: entry
        for entry in entries
        if isinstance(entry, RepoFile) and entry.path != _OF_GIT
    }


def _equal(folder: Path, manifest: Mapping[str, str], files: "Mapping[str, RepoFile]") -> bool:
    """Return whether a commit holds exactly the package, by the hashes that the Hub lists."""
    from huggingface_hub.utils.sha import git_hash

    digests = {**manifest, MANIFEST: file_sha256(folder / MANIFEST)}
    if files.keys() != digests.keys():
        return False

    def is_equal(name: str, file: "RepoFile") -> bool:
        if file.lfs:
            return bool(file.lfs.sha256 == digests[name])
        return bool(file.blob_id == git_hash((folder / name).read_bytes()))

    return all(is_equal(name, file) for name, file in files.items())


def _reason(error: BaseException) -> str | None:
    """Return what is wrong and what to do; None for an error that is not of the Hub or network."""
    from httpx2 import TransportError
    from huggingface_hub import errors

    # Look at the cause of an error that only wraps it.
    wrapping = RuntimeError | errors.LocalEntryNotFoundError | errors.RevisionResolutionError
    if isinstance(error, wrapping) and error.__cause__:
        return _reason(error.__cause__)

    # The Hub cannot be reached.
    if isinstance(error, errors.OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set; unset it to use the Hugging Face Hub"
    if isinstance(
        error, errors.RevisionResolutionError | errors.LocalEntryNotFoundError | TransportError
    ):
        return (
            "the Hub does not answer; check the network and HF_HUB_OFFLINE, "
            "then run the same command again"
        )

    # The address names nothing that is there.
    if isinstance(error, errors.GatedRepoError):
        return f"gated; accept its terms on the Hub, then {_LOG_IN}"
    if isinstance(error, errors.RepositoryNotFoundError):
        return f"no such repository, or one that you may not see; check the name, {_LOG_IN}"
    if isinstance(error, errors.RevisionNotFoundError):
        return "no such branch, tag or commit; give one that the repository has"
    if isinstance(error, errors.EntryNotFoundError):
        return f"no {MANIFEST}; clintune published no package there"
    if isinstance(error, errors.HFValidationError):
        return (
            "no name that the Hub takes; "
            "give hf://organisation/name in letters, digits, '-', '_' and '.'"
        )
    return _refusal(error)


def _refusal(error: BaseException) -> str | None:
    """Return why the Hub refuses a request, or that the transfer failed; None for another error."""
    from huggingface_hub import errors

    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in (401, 403):
        return f"access is denied; {_LOG_IN}, with a token that may write if you publish"
    if status in (409, 412):
        return (
            "somebody else changed the repository at the same time; look at it, "
            "then run the same command again"
        )
    if isinstance(error.__cause__, errors.BadRequestError):
        return "the Hub refuses the metadata of README.md; correct them and publish again"
    if isinstance(error, errors.HfHubHTTPError):
        return (
            f"the Hub refuses it (HTTP {status}); look at the repository there, "
            "then run the same command again"
        )

    # Errors of these kinds come from the transfer itself.
    is_of_transfer = isinstance(error, RuntimeError | ValueError | errors.XetDownloadError)
    if is_of_transfer or getattr(error, "errno", 0) is None:
        return (
            f"the transfer failed ({type(error).__name__}); run the same command again: "
            "what was transferred is kept"
        )
    return None
