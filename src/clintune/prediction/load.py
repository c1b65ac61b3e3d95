"""`clintune.load`: from a name to a model that predicts; nothing that arrives is trusted unread."""

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from clintune.contracts import Batch
from clintune.core.errors import ConfigError, PackageError
from clintune.core.text import visible
from clintune.hub.base import open_hub, source_of
from clintune.hub.manifest import MANIFEST, local_manifest
from clintune.model.backbone import Backbone
from clintune.package.calibrations import CALIBRATION, read_calibrations
from clintune.package.contents import Package
from clintune.package.load import load_package
from clintune.package.members import check_alike, members_found
from clintune.package.plain import read_yaml
from clintune.tasks.calibration import Calibration
from clintune.training.limits import FILE as LIMITS

RECIPE = "recipe.yaml"
"""The file that tells a run from a package."""


@dataclass(frozen=True, kw_only=True)
class Predictor:
    """The members of an ensemble, often one, whose predictions are averaged, then calibrated by task."""

    members: Sequence[Package]
    calibrations: Mapping[str, Calibration]

    def __repr__(self) -> str:
        first = self.members[0].config
        reads, answers = ", ".join(first.modalities), ", ".join(self.calibrations)
        return f"Predictor({first.name}: {answers} from {reads}; members: {len(self.members)})"

    @torch.inference_mode()
    def __call__(self, batch: Batch) -> dict[str, NDArray[np.float32]]:
        """Return the calibrated predictions [N, P] of each task.

        Raises ConfigError for what is no batch, PackageError where an answer is not finite.
        """
        if not isinstance(batch, Batch):
            raise ConfigError(f"a model takes a Batch, not {type(batch).__name__}; docs/publish.md shows how")
        answers: dict[str, list[NDArray[np.float32]]] = {name: [] for name in self.calibrations}
        for member in self.members:
            outputs = member.model(batch.to(member.model.queries.device))
            for name, task in member.tasks.items():
                answers[name].append(task.predict(outputs[name]).cpu().numpy())
        means = {name: np.mean(several, axis=0) for name, several in answers.items()}
        for name, mean in means.items():
            if num := int((~np.isfinite(mean)).any(axis=1).sum()):
                raise PackageError(f"task {name}: {num} of {len(mean)} answers are not finite; use none of the package")
        return {name: self.calibrations[name].apply(mean) for name, mean in means.items()}


def load(
    source: str | Path,
    *,
    revision: str | None = None,
    device: str | torch.device = "cpu",
    trusted: Sequence[str] = (),
    sources: Mapping[str, str] | None = None,
) -> Predictor:
    """Load a package or run from a folder, the Hugging Face Hub (`org/name`), an MLflow registry or a URL.

    `trusted` names modules outside clintune whose classes it may use, `sources` where the base weights of `backbone` or
    of a modality are on this machine. Fetched packages are kept below the folder CLINTUNE_CACHE. Raises PackageError as
    `load_package` does, and where there is no package.
    """
    return _load(fetch(source, revision), device, trusted, sources, None)


def load_several(
    named: Mapping[str, str | Path], *, device: str | torch.device = "cpu", trusted: Sequence[str] = ()
) -> dict[str, Predictor]:
    """Load packages whose LoRA adapters sit on one base, which is loaded once; each of them is used as if alone.

    A call of one of them switches the base to its adapter, so calls must not run at the same time. Raises ConfigError
    for what is no mapping, or an empty one, PackageError where the bases differ, or a package has no adapter.
    """
    if not isinstance(named, Mapping) or not named:
        raise ConfigError('load_several: give a mapping of names to addresses, as {"ward": "org/name"}')
    predictors: dict[str, Predictor] = {}
    shared = None
    for name, source in named.items():
        predictors[name] = _load(fetch(source), device, trusted, None, shared)
        shared = shared or predictors[name].members[0].model.backbone
    return predictors


def fetch(source: str | Path, revision: str | None = None) -> Path:
    """Return the local folder of a package or run, fetched from where it lives."""
    cache = Path(os.environ.get("CLINTUNE_CACHE", "~/.cache/clintune")).expanduser()
    return open_hub(source_of(str(source)), revision=revision).fetch(cache)


def package_folder(folder: Path) -> Path:
    """Return where the package of a run is, or the package that `folder` itself is, its files verified.

    Raises PackageError where there is none, or a file is not as it was written.
    """
    inside = folder / "package" if _is_run(folder) else folder
    if not members_found(inside):
        raise PackageError(f"{folder}: no package there; give a package, or a run that was trained to its end")
    if inside == folder and (folder / MANIFEST).is_file():
        local_manifest(folder)
    elif inside == folder and (loose := [name for name in (CALIBRATION, LIMITS) if (folder / name).exists()]):
        raise PackageError(f"{folder / loose[0]}: no {MANIFEST} lists it; fetch the package again, or remove the file")
    return inside


def _is_run(folder: Path) -> bool:
    """Return whether a folder is a run of this machine: what is published or fetched has a manifest, and is none."""
    return (folder / RECIPE).is_file() and not os.path.lexists(folder / MANIFEST)


def _use_modules(folder: Path) -> None:
    """Let Python find the modules beside the recipe of a run, and read nothing else of it."""
    recipe = read_yaml(folder / RECIPE)
    modules = recipe.get("modules") if isinstance(recipe, dict) else None
    if isinstance(modules, str) and modules not in sys.path:
        sys.path.append(modules)


def _load(
    folder: Path,
    device: str | torch.device,
    trusted: Sequence[str],
    sources: Mapping[str, str] | None,
    shared: Backbone | None,
) -> Predictor:
    found = members_found(package_folder(folder))
    if trusted and _is_run(folder):
        _use_modules(folder)
    members = []
    for member in found:
        members.append(load_package(member, device, trusted, sources=sources, shared=shared))
        backbone = members[0].model.backbone
        if len(found) > 1 and backbone.weights is not None and members[0].config.adapter.mode == "lora":
            shared = shared or backbone
    check_alike(dict(zip(found, members, strict=True)))
    return Predictor(members=members, calibrations=_calibrations(folder / CALIBRATION, members[0]))


def _calibrations(path: Path, package: Package) -> dict[str, Calibration]:
    """Return the calibration of each task; one that was never fitted leaves probabilities as they are.

    Raises PackageError for one that is of no task of the package, or of other outputs.
    """
    fitted = read_calibrations(path) if path.is_file() else {}
    found = {name: Calibration.identity(task.questions) for name, task in package.tasks.items()}
    for name, calibration in fitted.items():
        if name not in found or not calibration.fits(found[name]):
            remedy = "evaluate the run, or fetch the package, again"
            raise PackageError(visible(f"{path}: {name[:200]} is no task of the package with these outputs; {remedy}"))
    return found | fitted
