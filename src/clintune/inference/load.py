"""`clintune.load`: from a name to a model that predicts; every file is verified before its use."""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from clintune.config.places import default_cache
from clintune.core.errors import ConfigError, PackageError
from clintune.core.text import visible
from clintune.experiment.limits import FILE as LIMITS
from clintune.hub.base import open_hub, source_of
from clintune.inference.predictor import Predictor
from clintune.model.backbone import Backbone
from clintune.package.calibrations import CALIBRATION, read_calibrations
from clintune.package.contents import Package
from clintune.package.load import load_package
from clintune.package.manifest import MANIFEST, local_manifest
from clintune.package.members import check_alike, members_found
from clintune.package.plain import read_yaml
from clintune.tasks.calibration import Calibration

RECIPE = "recipe.yaml"
"""The file that a run has and a package lacks."""


def load(
    source: str | os.PathLike[str],
    *,
    revision: str | None = None,
    device: str | torch.device = "cpu",
    trusted: str | Sequence[str] = (),
    sources: Mapping[str, str] | None = None,
) -> Predictor:
    """Load a package or run.

    `source` is a folder, a name on the Hugging Face Hub (`org/name`), a model of an MLflow registry
    or a URL. `trusted` names modules outside clintune whose classes the package may use. `sources`
    says where the base weights of `backbone` or of a modality are on this machine. Fetched packages
    are kept below the folder CLINTUNE_CACHE. Raises PackageError as `load_package` does, and where
    there is no package.
    """
    return _load(fetch(source, revision), device, trusted, sources, None)


def load_several(
    named: Mapping[str, str | os.PathLike[str]],
    *,
    device: str | torch.device = "cpu",
    trusted: str | Sequence[str] = (),
) -> dict[str, Predictor]:
    """Load packages whose LoRA adapters share one base, which is loaded once.

    Each package is used as if it were alone. A call of one of them switches the base to its
    adapter, so calls must not run at the same time. Raises ConfigError for a value that is no
    mapping, or an empty one; PackageError where the bases differ, or a package has no adapter.
    """
    if not isinstance(named, Mapping) or not named:
        raise ConfigError(
            'load_several: give a mapping of names to addresses, as {"ward": "org/name"}'
        )

    predictors: dict[str, Predictor] = {}
    shared = None
    for name, source in named.items():
        predictors[name] = _load(fetch(source), device, trusted, None, shared)
        shared = shared or predictors[name].members[0].model.backbone
    return predictors


def fetch(source: str | os.PathLike[str], revision: str | None = None) -> Path:
    """Return the local folder of a package or run; fetch it if it is elsewhere."""
    cache = Path(default_cache()).expanduser()
    return open_hub(source_of(os.fspath(source)), revision=revision).fetch(cache)


def package_folder(folder: Path) -> Path:
    """Return the folder of a run's package, or `folder` itself if it is a package.

    All files of a package are verified. Raises PackageError where there is no package, or a file is
    damaged.
    """
    inside = folder / "package" if _is_run(folder) else folder
    if not members_found(inside):
        raise PackageError(
            f"{folder}: no package there; give a package, or a run that was trained to its end"
        )
    if inside != folder:
        return inside

    # A manifest lists the files beside the package, too.
    if (folder / MANIFEST).is_file():
        local_manifest(folder)
    elif loose := [name for name in (CALIBRATION, LIMITS) if (folder / name).exists()]:
        raise PackageError(
            f"{folder / loose[0]}: no {MANIFEST} lists it; fetch the package again, or remove the "
            "file"
        )
    return inside


def _is_run(folder: Path) -> bool:
    """Return whether a folder is a run of this machine.

    A published or fetched package has a manifest, and is no run.
    """
    return (folder / RECIPE).is_file() and not os.path.lexists(folder / MANIFEST)


def _use_modules(folder: Path) -> None:
    """Add the folder of modules that a run's recipe names to Python's path; use no more of it."""
    recipe = read_yaml(folder / RECIPE)
    modules = recipe.get("modules") if isinstance(recipe, dict) else None
    if isinstance(modules, str) and modules not in sys.path:
        sys.path.append(modules)


def _load(
    folder: Path,
    device: str | torch.device,
    trusted: str | Sequence[str],
    sources: Mapping[str, str] | None,
    shared: Backbone | None,
) -> Predictor:
    found = members_found(package_folder(folder))
    if trusted and _is_run(folder):
        _use_modules(folder)

    # Members with LoRA adapters on a pretrained base share that base.
    members = []
    for member in found:
        members.append(load_package(member, device, trusted, sources=sources, shared=shared))
        first = members[0]
        has_lora = first.config.adapter.mode == "lora"
        if len(found) > 1 and first.model.backbone.weights is not None and has_lora:
            shared = shared or first.model.backbone

    check_alike(dict(zip(found, members, strict=True)))
    return Predictor(members=members, calibrations=_calibrations(folder / CALIBRATION, members[0]))


def _calibrations(path: Path, package: Package) -> dict[str, Calibration]:
    """Return the calibration of each task; one that was never fitted changes no probability.

    Raises PackageError for a calibration of another task, or of other outputs.
    """
    fitted = read_calibrations(path) if path.is_file() else {}
    found = {name: Calibration.identity(task.questions) for name, task in package.tasks.items()}
    for name, calibration in fitted.items():
        if name not in found or not calibration.fits(found[name]):
            remedy = "evaluate the run, or fetch the package, again"
            problem = f"{name[:200]} is no task of the package with these outputs; {remedy}"
            raise PackageError(visible(f"{path}: {problem}"))
    return found | fitted
