"""Check of the sizes that a package asks for against its own tensors, before memory is taken."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from clintune.config.schema import Adapter, Config
from clintune.core.errors import PackageError
from clintune.core.text import visible
from clintune.model.build import make_modalities
from clintune.package.contents import ADAPTER, PARTS
from clintune.package.short_text import in_short
from clintune.package.tensors import package_headers
from clintune.weights import load_transformer
from clintune.weights.budget import BudgetError, building_within
from clintune.weights.tensor_headers import Header

_OWN = "clintune."
_ENCODERS = "modalities."


def check_size(
    folder: Path,
    config: Config,
    statistics: Mapping[str, Mapping[str, Any]],
    outputs: Mapping[str, int],
) -> None:
    """Raise PackageError where a part is not as large as its tensors.

    Checked are heads, LoRA, and parts that start from random weights. Parts of pretrained weights
    are compared with those weights when they are loaded.
    """
    parts = package_headers(folder / PARTS)
    _check_heads(folder, parts, outputs)
    _check_rank(folder, config.adapter, parts)

    # Build random parts of clintune within a budget that the stored tensors set.
    within = len(parts), sum(header.entries for header in parts.values())
    for name, modality in make_modalities(config.modalities).items():
        part = config.modalities[name]
        if part.get("source", "random") == "random" and part["_target_"].startswith(_OWN):
            _rehearse(folder, name, within, partial(modality.build, statistics[name]))
    if config.backbone.source == "random":
        settings = dict(config.backbone.config or {})
        _rehearse(folder, "backbone", within, partial(load_transformer, settings))


def _rehearse(
    folder: Path, name: str, within: tuple[int, int], build: Callable[[], object]
) -> None:
    """Build a part without memory; where its family cannot, with memory that is not filled."""
    try:
        try:
            with torch.device("meta"), building_within(*within):
                build()
        except (NotImplementedError, RuntimeError):
            with building_within(*within):
                build()
    except BudgetError as error:
        raise PackageError(f"{folder}: {visible(name)} {error}; do not use the package") from error


def _check_heads(folder: Path, parts: Mapping[str, Header], outputs: Mapping[str, int]) -> None:
    for task, number in outputs.items():
        name = f"heads.{task}.of_query.weight"
        if name not in parts:
            raise PackageError(
                f"{folder / PARTS}: {visible(name)} is missing; fetch the package again"
            )
        if len(parts[name].shape) != 2 or parts[name].shape[0] != number:
            raise PackageError(
                f"{folder}: tasks.{visible(task)} has not the outputs of its head; "
                "do not use the package"
            )


def _check_rank(folder: Path, adapter: Adapter, parts: Mapping[str, Header]) -> None:
    """Compare the rank of LoRA with each of its tensors."""
    headers = {name: header for name, header in parts.items() if name.startswith(_ENCODERS)}
    if adapter.mode == "lora":
        headers |= package_headers(folder / ADAPTER)
    for name, header in headers.items():
        # A name begins with a word of ours and the name of a modality, which may be any.
        inside = name.split(".", 2)[-1]
        if "lora_A" in inside.split(".") and header.shape[:1] != (adapter.r,):
            raise PackageError(
                in_short(f"{folder}: adapter.r is not the rank of {name}; do not use the package")
            )
