"""A package in memory, and the tensors of a model that a package must hold."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from clintune.config.parts import instantiate_section
from clintune.config.schema import Config
from clintune.contracts import Batch
from clintune.core.errors import ConfigError
from clintune.metrics import Metric
from clintune.model.build import Statistics
from clintune.model.fusion import Fusion
from clintune.package.bounds import COMPOSED
from clintune.package.origin import Origin
from clintune.tasks.base import Task
from clintune.tasks.figure import Figure

ABOUT = "clintune.yaml"
PARTS = "parts.safetensors"
ADAPTER = "adapter_model.safetensors"
SECTIONS = ("name", *COMPOSED)
"""The sections of a recipe that make the composition of a package."""


@dataclass(frozen=True, kw_only=True)
class Package:
    """A trained model with all that its use needs."""

    config: Config
    model: Fusion
    tasks: Mapping[str, Task]
    statistics: Statistics

    @torch.inference_mode()
    def predict(self, batch: Batch) -> dict[str, Tensor]:
        """Return the predictions of each task for the samples of a batch [N, P].

        They are on the device of the model, and not calibrated. `inference` has the loop over
        batches, views and members.
        """
        outputs = self.model(batch.to(self.model.queries.device))
        return {name: task.predict(outputs[name]) for name, task in self.tasks.items()}


def make_tasks(parts: Mapping[str, Any]) -> dict[str, Task]:
    """Instantiate the tasks of a config; ConfigError for wrong `metrics` or `figures` of a task."""
    tasks: dict[str, Task] = instantiate_section("tasks", parts)
    for name, task in tasks.items():
        _check_all(name, task, "metrics", Metric, "one or more Metric objects (clintune.metrics)")
        if task.metrics[0].higher_is_better is None:
            raise ConfigError(
                f"tasks.{name}: its first metric, {task.metrics[0].name}, can choose no checkpoint "
                "(higher_is_better is None); put first one that can"
            )
        if task.figures:
            _check_all(name, task, "figures", Figure, "Figure objects (clintune.tasks.figure)")
    return tasks


def _check_all(name: str, task: Task, key: str, kind: type, what: str) -> None:
    """Raise ConfigError where an attribute of a task is empty, or not `kind` throughout."""
    found: Any = getattr(task, key)
    is_filled = isinstance(found, Sequence) and found
    strange = [part for part in found if not isinstance(part, kind)] if is_filled else [found]
    if strange:
        has = f"it has a {type(strange[0]).__name__}"
        if isinstance(found, kind):
            has = "it is one without a tuple: put a comma behind it"
        elif found == () or found == []:
            has = "it is empty"
        raise ConfigError(
            f"tasks.{name}: `{key}` of {type(task).__name__} must be a tuple of {what}; {has}"
        )


def package_tensors(model: Fusion) -> dict[str, Tensor]:
    """Return every tensor of a model that its base weights do not hold, by name.

    The tensors of the adapter are included.
    """
    kept = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    prefixes = ("heads.", "projectors.", *_random_parts(model))
    return {
        name: value.detach()
        for name, value in model.state_dict().items()
        if name in kept or name.startswith(prefixes) or is_adapter(name)
    }


def is_adapter(name: str) -> bool:
    """Return whether a tensor of a model belongs to the backbone's adapter."""
    return name.startswith("backbone.") and ".lora_" in name


def origins(model: Fusion) -> dict[str, Origin]:
    """Return where the weights of the backbone and of each modality's encoder came from."""
    weights = model.backbone.weights
    encoders = {name: Origin.of(modality.origin) for name, modality in model.encoders.items()}
    return {"backbone": Origin.of(weights.record()) if weights else Origin(), **encoders}


def _random_parts(model: Fusion) -> Iterator[str]:
    """Yield the prefixes of parts that started from random weights: no base can restore them."""
    if model.backbone.weights is None:
        yield "backbone."
    for name, modality in model.encoders.items():
        if modality.origin.get("source") in {None, "random"}:
            yield f"modalities.{name}."
