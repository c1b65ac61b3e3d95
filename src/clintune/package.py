"""The adapter package: what leaves the house. safetensors and text only; nothing is unpickled, nothing unknown is run.

adapter_config.json  adapter_model.safetensors   the backbone's adapter, PEFT's own files
parts.safetensors                                projectors, queries, heads, trained or random encoder parts
clintune.yaml                                    composition, weights' origin, statistics, states of the tasks
README.md  MANIFEST.json                         card; sha256 of every file
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from clintune import __version__
from clintune.config.parts import make_parts
from clintune.config.schema import Config
from clintune.core.errors import PackageError
from clintune.core.files import atomic_path, file_sha256, write_json
from clintune.model.adapters import is_peft
from clintune.model.build import Statistics, build_model, make_modalities
from clintune.model.fusion import Fusion
from clintune.tasks.base import Task

_ADAPTER = "adapter_model.safetensors"
_SECTIONS = ("name", "modalities", "tasks", "backbone", "adapter", "model")


@dataclass(frozen=True, kw_only=True)
class Package:
    """A trained model with everything that using it needs."""

    config: DictConfig
    model: Fusion
    tasks: Mapping[str, Task]
    statistics: Statistics


def make_tasks(config: DictConfig) -> dict[str, Task]:
    """Instantiate the tasks of a config."""
    return make_parts("tasks", config.tasks)


def write_package(folder: Path, package: Package, tensors: Mapping[str, Tensor], seed: int, card: str) -> None:
    """Write a package atomically; an older one of that name is replaced.

    `tensors` are those of `package_tensors`, whole and on the CPU.
    """
    model = package.model
    composition = {key: OmegaConf.to_container(package.config, resolve=True)[key] for key in _SECTIONS}  # type: ignore[call-overload,index]
    about = {
        "clintune": __version__,
        "seed": seed,
        "composition": composition,
        "weights": _origins(model),
        "statistics": package.statistics,
        "tasks": {name: {"state": task.state(), "outputs": task.output_names} for name, task in package.tasks.items()},
    }
    adapter = {name: value for name, value in tensors.items() if _is_adapter(name)}
    with atomic_path(folder) as partial:
        partial.mkdir()
        if is_peft(model.backbone.model):
            prefix = "backbone.model."
            state = {name.removeprefix(prefix): value for name, value in adapter.items()}
            model.backbone.model.save_pretrained(str(partial), state_dict=state)  # type: ignore[operator]
        parts = {name: value for name, value in tensors.items() if name not in adapter}
        save_file(parts, partial / "parts.safetensors")
        (partial / "clintune.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(about)), encoding="utf-8")
        (partial / "README.md").write_text(card, encoding="utf-8")
        files = sorted(path for path in partial.iterdir() if path.is_file())
        write_json(partial / "MANIFEST.json", {path.name: file_sha256(path) for path in files})


def load_package(folder: Path, device: str | torch.device = "cpu", trusted: Sequence[str] = ()) -> Package:
    """Load a package: verify every file, rebuild the model on its base weights, fill every tensor.

    `trusted` names modules outside clintune whose classes the package may use. Raises PackageError for a file that is
    missing or changed, a class of a module that is not trusted, a tensor that is missing, left over or of another
    shape, or base weights other than those it was trained on.
    """
    _verify_files(folder)
    about = OmegaConf.to_container(OmegaConf.load(folder / "clintune.yaml"))
    assert isinstance(about, dict)
    _check_targets(folder, about["composition"], ("clintune.modalities", "clintune.tasks", *trusted))
    config = OmegaConf.merge(OmegaConf.structured(Config), about["composition"])
    assert isinstance(config, DictConfig)
    config.backbone.compile = config.backbone.liger = False  # how it was trained, not what it is
    tasks = make_tasks(config)
    for name, task in tasks.items():
        task.load_state(about["tasks"][name]["state"])
    outputs = {name: task.num_outputs for name, task in tasks.items()}
    model = build_model(config, make_modalities(config), about["statistics"], outputs, about["seed"])
    if _origins(model) != about["weights"]:
        raise PackageError(
            f"{folder}: trained on other base weights than those found here; see weights in clintune.yaml"
        )
    _fill(folder, model)
    model.to(device).eval()
    return Package(config=config, model=model, tasks=tasks, statistics=about["statistics"])


def member_folders(folder: Path, ensemble: int) -> list[Path]:
    """Return the folder of each member below `folder`: `folder` itself, or `member-N` for an ensemble."""
    return [folder] if ensemble == 1 else [folder / f"member-{member}" for member in range(ensemble)]


def trained_members(folder: Path, ensemble: int) -> list[Path]:
    """Return the packages of a run's members below `folder`.

    Raises PackageError when one is missing: an ensemble of fewer members would be another model.
    """
    members = member_folders(folder, ensemble)
    for member in members:
        if not (member / "MANIFEST.json").is_file():
            raise PackageError(f"{member}: no package there; train the run to its end (clintune train --resume RUN)")
    return members


def package_tensors(model: Fusion) -> dict[str, Tensor]:
    """Return every tensor of a model that its base weights do not hold, the adapter's included, by name."""
    kept = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    prefixes = ("heads.", "projectors.", *_random_parts(model))
    return {
        name: value.detach()
        for name, value in model.state_dict().items()
        if name in kept or name.startswith(prefixes) or _is_adapter(name)
    }


def _is_adapter(name: str) -> bool:
    return name.startswith("backbone.") and ".lora_" in name


def _random_parts(model: Fusion) -> Iterator[str]:
    """Yield the prefixes of parts that started from random weights, which a base cannot restore."""
    if model.backbone.weights is None:
        yield "backbone."
    for name, modality in model.encoders.items():
        if modality.source.get("source") in {None, "random"}:
            yield f"modalities.{name}."


def _origins(model: Fusion) -> dict[str, Any]:
    weights = model.backbone.weights
    encoders = {name: dict(modality.source) for name, modality in model.encoders.items()}
    return {"backbone": weights.record() if weights else None, "modalities": encoders}


def _fill(folder: Path, model: Fusion) -> None:
    tensors = load_file(folder / "parts.safetensors")
    expected = {name: value for name, value in package_tensors(model).items() if not _is_adapter(name)}
    _check_tensors(folder / "parts.safetensors", tensors, expected)
    model.load_state_dict(tensors, strict=False)
    if is_peft(model.backbone.model):
        from peft import get_peft_model_state_dict, set_peft_model_state_dict

        adapter = load_file(folder / _ADAPTER)
        _check_tensors(folder / _ADAPTER, adapter, get_peft_model_state_dict(model.backbone.model))
        set_peft_model_state_dict(model.backbone.model, adapter)


def _check_tensors(path: Path, found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    wrong = sorted(found.keys() ^ expected.keys())
    wrong += sorted(name for name in found.keys() & expected.keys() if found[name].shape != expected[name].shape)
    if wrong:
        kind = "is missing" if wrong[0] in expected and wrong[0] not in found else "is not one that the model has"
        raise PackageError(f"{path}: {len(wrong)} tensors do not fit; {wrong[0]} {kind}; fetch the package again")


def _verify_files(folder: Path) -> None:
    manifest = folder / "MANIFEST.json"
    if not manifest.is_file():
        raise PackageError(f"{folder}: no MANIFEST.json; this is not a package that clintune wrote")
    listed: dict[str, str] = json.loads(manifest.read_text(encoding="utf-8"))
    found = {path.name for path in folder.iterdir()} - {"MANIFEST.json"}
    if extra := sorted(found ^ listed.keys()):
        raise PackageError(
            f"{folder}: {extra[0]} is {'not listed' if extra[0] in found else 'missing'}; fetch it again"
        )
    for name, digest in listed.items():
        if file_sha256(folder / name) != digest:
            raise PackageError(f"{folder / name}: changed since it was written (sha256 differs); fetch it again")


def _check_targets(folder: Path, node: Any, trusted: Sequence[str]) -> None:
    """Refuse a class of any other module: a config that names a callable is code."""
    if isinstance(node, list):
        for value in node:
            _check_targets(folder, value, trusted)
    if isinstance(node, dict):
        target = node.get("_target_")
        if target is not None and not str(target).startswith(tuple(f"{module}." for module in trusted)):
            raise PackageError(f"{folder}: _target_ {target} is of no trusted module; name its module if you trust it")
        for value in node.values():
            _check_targets(folder, value, trusted)


def parameters_of(module: nn.Module) -> tuple[int, int]:
    """Return the numbers of (trainable, all) parameters."""
    sizes = [(parameter.numel(), parameter.requires_grad) for parameter in module.parameters()]
    return sum(n for n, trains in sizes if trains), sum(n for n, _ in sizes)
