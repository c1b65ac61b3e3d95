"""Write a package, at the end of training."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from safetensors.torch import save_file
from torch import Tensor

from clintune import __version__
from clintune.core.files import atomic_path
from clintune.model.adapters import is_peft
from clintune.package.contents import ABOUT, PARTS, SECTIONS, Package, is_adapter, origins
from clintune.package.description import FORMAT
from clintune.package.manifest import write_manifest


def write_package(
    folder: Path, package: Package, tensors: Mapping[str, Tensor], seed: int, card: str
) -> None:
    """Write a package atomically; it replaces an older one at the same path.

    `tensors` are those of `package_tensors`, full tensors on the CPU.
    """
    model = package.model
    config = asdict(package.config)
    about = {
        "format": FORMAT,
        "clintune": __version__,
        "seed": seed,
        "precision": package.config.trainer.precision,
        "composition": {key: config[key] for key in SECTIONS},
        "weights": {name: origin.to_dict() for name, origin in origins(model).items()},
        "statistics": package.statistics,
        "tasks": {
            name: {"state": task.state(), "outputs": task.output_names}
            for name, task in package.tasks.items()
        },
    }

    # Write all files, and the manifest last: it lists the others.
    with atomic_path(folder) as partial:
        partial.mkdir()
        if is_peft(model.backbone.model):
            _save_adapter(partial, package, tensors)
        dtype = getattr(torch, package.config.backbone.dtype)
        parts = {
            name: _as_loaded(name, value, dtype)
            for name, value in tensors.items()
            if not is_adapter(name)
        }
        save_file(parts, partial / PARTS)
        (partial / ABOUT).write_text(OmegaConf.to_yaml(OmegaConf.create(about)), encoding="utf-8")
        (partial / "README.md").write_text(card, encoding="utf-8")
        write_manifest(partial)


def _as_loaded(name: str, value: Tensor, dtype: torch.dtype) -> Tensor:
    """Return a tensor in the type of its parameter in a loaded model.

    Training may hold frozen tensors in fewer bits. `dtype` is that of the backbone.
    """
    if not value.is_floating_point():
        return value
    return value.to(dtype if name.startswith("backbone.") else torch.float32)


def _save_adapter(folder: Path, package: Package, tensors: Mapping[str, Tensor]) -> None:
    """Write the adapter as PEFT does, with its base's name instead of a path on this machine."""
    model, weights = package.model.backbone.model, package.model.backbone.weights
    prefix = "backbone.model."
    state = {
        name.removeprefix(prefix): value for name, value in tensors.items() if is_adapter(name)
    }
    adapter: Any = model.peft_config["default"]  # type: ignore[index]
    adapter.base_model_name_or_path = weights.name if weights else None
    adapter.revision = weights.revision if weights else None
    # The embeddings never train; PEFT would ask a hub whether their number is that of the base.
    model.save_pretrained(str(folder), state_dict=state, save_embedding_layers=False)  # type: ignore[operator]
