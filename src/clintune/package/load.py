"""Load a package: verify every file, rebuild the model on its base weights, fill every tensor."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from clintune.config.schema import Config
from clintune.core.errors import PackageError
from clintune.hub.manifest import local_manifest
from clintune.model.adapters import is_peft
from clintune.model.backbone import Backbone
from clintune.model.build import build_model, make_modalities
from clintune.model.fusion import Fusion
from clintune.package.contents import (
    ABOUT,
    ADAPTER,
    PARTS,
    SECTIONS,
    Package,
    is_adapter,
    make_tasks,
    origins,
    package_tensors,
)
from clintune.package.sample import SAMPLE, repeat_answer
from clintune.package.verify import check_classes, check_tensors, read_tensors

_KEYS = {"seed", "precision", "composition", "weights", "statistics", "tasks"}


def load_package(
    folder: Path,
    device: str | torch.device = "cpu",
    trusted: Sequence[str] = (),
    *,
    sources: Mapping[str, str] | None = None,
    shared: Backbone | None = None,
) -> Package:
    """Load a package.

    `trusted` names modules outside clintune whose classes the package may use; `sources` says where the base weights of
    `backbone` or of a modality are on this machine; `shared` is a loaded backbone that gets this package's adapter too.
    Raises PackageError for a file that is missing or changed, a class of a module that is not trusted, a tensor that is
    missing, left over or of another shape, base weights other than those it was trained on, or a stored answer that
    the model does not repeat.
    """
    local_manifest(folder)
    about = _read_about(folder)
    check_classes(folder, about["composition"], trusted)
    config = _config(folder, about, sources or {})
    if shared is not None:
        _check_shared(folder, config, about["weights"]["backbone"], shared)
    tasks = make_tasks(config)
    for name, task in tasks.items():
        task.load_state(about["tasks"][name]["state"])
    outputs = {name: task.num_outputs for name, task in tasks.items()}
    model = build_model(config, make_modalities(config), about["statistics"], outputs, about["seed"], shared=shared)
    _check_base(folder, model, about["weights"])
    _fill(folder, model)
    model.to(device).eval()
    package = Package(config=config, model=model, tasks=tasks, statistics=about["statistics"])
    if (folder / SAMPLE).exists():
        repeat_answer(folder, package)
    return package


def _read_about(folder: Path) -> dict[str, Any]:
    """Read what a package says of itself; it names no variable of this machine, as `${oc.env:...}` would."""
    path = folder / ABOUT
    try:
        text = path.read_text(encoding="utf-8")
        about = yaml.safe_load(text)
        composition, weights = about["composition"], about["weights"]
        known = about.keys() >= _KEYS and composition.keys() >= set(SECTIONS)
        known = known and weights.keys() == {"backbone", *composition["modalities"]}
        known = known and about["tasks"].keys() == composition["tasks"].keys()
    except (OSError, UnicodeDecodeError, yaml.YAMLError, LookupError, TypeError, AttributeError):
        known = False
    if not known:
        raise PackageError(f"{path}: does not describe a package of this version of clintune; publish or train it anew")
    if "${" in text:
        raise PackageError(f"{path}: reads variables of this machine; do not use the package")
    return about  # type: ignore[no-any-return]


def _config(folder: Path, about: Mapping[str, Any], sources: Mapping[str, str]) -> DictConfig:
    """Return the config of the model, its base weights at the very revisions that it was trained on."""
    try:
        config = OmegaConf.merge(OmegaConf.structured(Config), about["composition"])
    except OmegaConfBaseException as error:
        raise PackageError(f"{folder / ABOUT}: holds a key or value that no recipe has; do not use it") from error
    assert isinstance(config, DictConfig)
    config.trainer.precision = about["precision"]
    config.backbone.compile = config.backbone.liger = False  # how it was trained, not what it is
    bases = {"backbone": config.backbone, **config.modalities}
    if unknown := sorted(sources.keys() - bases.keys()):
        raise PackageError(f"{folder}: sources names {unknown[0]}, which it lacks; it has {', '.join(bases)}")
    for name, part in bases.items():
        revision = about["weights"][name].get("revision")
        if name in sources:
            part.source, revision = sources[name], None
        if "revision" in part:
            part.revision = revision
    return config


def _check_base(folder: Path, model: Fusion, trained: Mapping[str, Mapping[str, Any]]) -> None:
    for name, found in origins(model).items():
        if found.get("sha256") != trained[name].get("sha256"):
            raise PackageError(
                f"{folder}: {name} was trained on other base weights than those found in {found['source']}; name the "
                f"right ones in `sources` (clintune.yaml says which)"
            )


def _check_shared(folder: Path, config: DictConfig, trained: Mapping[str, Any], shared: Backbone) -> None:
    if config.adapter.mode != "lora" or not is_peft(shared.model) or shared.weights is None:
        raise PackageError(f"{folder}: only LoRA adapters of one pretrained base can share it; load it by itself")
    if trained.get("sha256") != shared.weights.sha256:
        raise PackageError(f"{folder}: its adapter sits on another base ({trained['source']}); load it by itself")


def _fill(folder: Path, model: Fusion) -> None:
    tensors = read_tensors(folder / PARTS)
    expected = {name: value for name, value in package_tensors(model).items() if not is_adapter(name)}
    check_tensors(folder / PARTS, tensors, expected)
    model.load_state_dict(tensors, strict=False)
    if is_peft(model.backbone.model):
        from peft import get_peft_model_state_dict, set_peft_model_state_dict

        name = model.backbone.adapter
        adapter = read_tensors(folder / ADAPTER)
        check_tensors(folder / ADAPTER, adapter, get_peft_model_state_dict(model.backbone.model, adapter_name=name))
        set_peft_model_state_dict(model.backbone.model, adapter, adapter_name=name)
