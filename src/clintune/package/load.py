"""Load a package: verify files, check the description, rebuild the model, fill every tensor."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from omegaconf.errors import OmegaConfBaseException

from clintune.config.schema import Adapter, Config
from clintune.config.typed import of_plain
from clintune.core.errors import ClintuneError, PackageError, StorageError
from clintune.core.paths import check_name
from clintune.core.text import visible
from clintune.model.adapters import is_peft
from clintune.model.backbone import Backbone
from clintune.model.build import build_model, make_modalities
from clintune.model.fusion import Fusion
from clintune.package.adapter import check_adapter_config
from clintune.package.bounds import check_bounds
from clintune.package.contents import (
    ABOUT,
    ADAPTER,
    PARTS,
    Package,
    is_adapter,
    make_tasks,
    origins,
    package_tensors,
)
from clintune.package.description import Answer, Description, read_description
from clintune.package.manifest import local_manifest
from clintune.package.origin import Origin
from clintune.package.sample import SAMPLE, repeat_answer
from clintune.package.short_text import in_short
from clintune.package.size import check_size
from clintune.package.statistics import check_statistics
from clintune.package.tensors import check_tensors, package_headers, read_tensors
from clintune.package.verify import check_classes
from clintune.tasks.base import Task

_RUST = "pyo3_runtime"
"""The module of the error that a library in Rust raises when it gives up."""


def load_package(
    folder: Path,
    device: str | torch.device = "cpu",
    trusted: str | Sequence[str] = (),
    *,
    sources: Mapping[str, str] | None = None,
    shared: Backbone | None = None,
) -> Package:
    """Load a package.

    `trusted` names modules outside clintune whose classes the package may use. `sources` says where
    the base weights of `backbone` or of a modality are on this machine. `shared` is a loaded
    backbone that gets the adapter of this package, too. Raises PackageError for a missing or
    changed file, a description out of bounds, a class of no trusted module, a tensor that is
    missing, left over, not finite or of another shape or type, base weights other than those of
    training, or a stored answer that the model does not repeat.
    """
    local_manifest(folder)
    with _refused(folder):
        description = read_description(folder)
        check_classes(folder, description.composition, trusted)
        check_bounds(folder, description.composition)
        config = _config(folder, description, sources or {})
        if shared is not None:
            _check_shared(folder, config.adapter, description.weights["backbone"], shared)

        # The state of tasks and the statistics must be such that nothing large is built of them.
        tasks = make_tasks(config.tasks)
        for name, task in tasks.items():
            _restore(folder, name, task, description.tasks[name])
        modalities = make_modalities(config.modalities)
        check_statistics(folder, modalities, description.statistics)
        outputs = {name: task.num_outputs for name, task in tasks.items()}
        check_size(folder, config, description.statistics, outputs)

        # Build the model and fill it.
        statistics = {name: dict(learned) for name, learned in description.statistics.items()}
        model = build_model(
            config, modalities, statistics, outputs, description.seed, shared=shared
        )
        _check_base(folder, model, description.weights)
        _fill(folder, model, description.weights["backbone"])

    model.to(device).eval()
    package = Package(config=config, model=model, tasks=tasks, statistics=statistics)
    if (folder / SAMPLE).exists():
        repeat_answer(folder, package)
    return package


@contextmanager
def _refused(folder: Path) -> Iterator[None]:
    """Turn all that goes wrong while a stranger's values are used into a PackageError of one line.

    A library in Rust that gives up, as tokenizers does, raises an error that is no Exception.
    """
    try:
        yield
    except (PackageError, StorageError):
        raise
    except ClintuneError as error:
        raise PackageError(in_short(f"{folder}: {error}")) from error
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__module__ != _RUST:
            raise
        raise PackageError(
            f"{folder}: cannot be built as {ABOUT} says ({type(error).__name__}); do not use it"
        ) from error


def _config(folder: Path, description: Description, sources: Mapping[str, str]) -> Config:
    """Return the config of the model; base weights have the revisions that it was trained on."""
    try:
        config = of_plain(Config, description.composition)
    except OmegaConfBaseException as error:
        raise PackageError(
            f"{folder / ABOUT}: holds a key or value that no recipe has; do not use it"
        ) from error

    bases = ("backbone", *config.modalities)
    if unknown := sorted(sources.keys() - set(bases)):
        raise PackageError(
            f"{folder}: sources names {unknown[0]}, which it lacks; it has {', '.join(bases)}"
        )

    def based(name: str, part: Mapping[str, Any]) -> dict[str, Any]:
        """Return a part that reads the very revision of its base weights, or the user's own."""
        own = {"source": sources[name]} if name in sources else {}
        revision = None if own else description.weights[name].revision
        return {**part, **own, **({"revision": revision} if "revision" in part else {})}

    # Compiling and kernels are how it was trained, not what it is.
    changes = based("backbone", {"revision": None})
    backbone = replace(config.backbone, compile=False, liger=False, **changes)
    modalities = {name: based(name, part) for name, part in config.modalities.items()}
    trainer = replace(config.trainer, precision=description.precision)
    return replace(config, backbone=backbone, modalities=modalities, trainer=trainer)


def _restore(folder: Path, name: str, task: Task, answer: Answer) -> None:
    """Restore the state of a task; its outputs must then be those that the package lists."""
    try:
        task.load_state(dict(answer.state))
    except ValueError as error:
        raise PackageError(
            f"{folder}: tasks.{name}.state {error}; do not use the package"
        ) from error
    if task.output_names != answer.outputs:
        raise PackageError(
            f"{folder}: tasks.{name} has other outputs than its state; do not use the package"
        )
    for part in task.parts:
        check_name(part, f"{folder}: a phenotype of {name}", PackageError)


def _check_base(folder: Path, model: Fusion, trained: Mapping[str, Origin]) -> None:
    for name, found in origins(model).items():
        if (file := trained[name].differs(found)) is not None:
            where = visible(found.source)
            raise PackageError(
                f"{folder}: {name} was trained on other base weights than those found in {where} "
                f"({visible(file)} differs); name the right ones in `sources` ({ABOUT} says which)"
            )


def _check_shared(folder: Path, adapter: Adapter, trained: Origin, shared: Backbone) -> None:
    if adapter.mode != "lora" or not is_peft(shared.model) or shared.weights is None:
        raise PackageError(
            f"{folder}: only LoRA adapters of one pretrained base can share it; load it by itself"
        )
    if trained.differs(Origin.of(shared.weights.record())) is not None:
        where = visible(trained.source)
        raise PackageError(
            f"{folder}: its adapter sits on another base ({where}); load it by itself"
        )


def _fill(folder: Path, model: Fusion, origin: Origin) -> None:
    """Load the tensors of a package into the model; PackageError where they do not fit."""
    expected = {
        name: value for name, value in package_tensors(model).items() if not is_adapter(name)
    }
    check_tensors(folder / PARTS, package_headers(folder / PARTS), expected)
    model.load_state_dict(read_tensors(folder / PARTS), strict=False)
    model.leave_out_unread_queries()

    # Trees index features; anyone may have written them.
    for task, head in model.task_heads.items():
        if head.trees is not None and not head.trees.reads_within(sum(head.widths.values())):
            raise PackageError(
                f"{folder}: a tree of {visible(task)} reads a feature that there is not; "
                "do not use the package"
            )

    # The adapter has files of its own.
    if is_peft(model.backbone.model):
        from peft import get_peft_model_state_dict, set_peft_model_state_dict

        name = model.backbone.adapter
        configs: Any = model.backbone.model.peft_config
        check_adapter_config(folder, configs[name], origin)
        own = get_peft_model_state_dict(model.backbone.model, adapter_name=name)
        check_tensors(folder / ADAPTER, package_headers(folder / ADAPTER), own)
        set_peft_model_state_dict(
            model.backbone.model, read_tensors(folder / ADAPTER), adapter_name=name
        )
