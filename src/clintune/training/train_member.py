"""One member: its model, optimizer and data order; then the loop."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from omegaconf import DictConfig
from torch import Tensor

from clintune.config.schema import Trainer
from clintune.core.console import console
from clintune.core.errors import ConfigError
from clintune.core.progress_bar import progress_bar
from clintune.core.seeding import derive_seed
from clintune.experiment.fold_data import Prepared
from clintune.experiment.folds import Unit
from clintune.experiment.open import Workspace
from clintune.features.batching import Batches, inference_draws, num_tokens
from clintune.modalities.base import Modality
from clintune.model.build import build_model, make_modalities, trainable
from clintune.package.contents import Package, package_tensors
from clintune.package.members import member_folders
from clintune.training import checkpoint
from clintune.training.history import History
from clintune.training.loop import Fit, Watch, train
from clintune.training.optimizer import Average, make_optimizer
from clintune.training.probe import fit_probe
from clintune.training.sampler import Order
from clintune.training.sharding import spread, wholes


@dataclass(frozen=True, kw_only=True)
class Member:
    """One model of a unit: several, with seeds of their own, make an ensemble."""

    unit: Unit
    number: int
    seed: int
    label: str
    checkpoints: Path
    package: Path


def members(config: DictConfig, unit: Unit) -> list[Member]:
    """Return the members of a unit, in the order in which they are trained."""
    checkpoints = member_folders(unit.folder / "checkpoints", config.ensemble)
    packages = member_folders(unit.folder / "package", config.ensemble)
    return [
        Member(
            unit=unit,
            number=number,
            seed=derive_seed(config.seed, "member", number, *unit.seed_parts),
            label=" ".join(
                filter(None, [unit.label, f"member {number}" if config.ensemble > 1 else ""])
            )
            or "train",
            checkpoints=checkpoints[number],
            package=packages[number],
        )
        for number in range(config.ensemble)
    ]


def fit_member(
    workspace: Workspace,
    member: Member,
    ready: Prepared,
    accelerator: Accelerator,
    history: History,
) -> tuple[Package, dict[str, Tensor]]:
    """Train one member; return it as a package, with the tensors that the package holds, whole on every process."""
    config, rows = workspace.config, ready.rows
    trainer, tasks = config.trainer, deepcopy(ready.tasks)
    outputs = {name: task.num_outputs for name, task in tasks.items()}
    model = build_model(config, make_modalities(config), ready.statistics, outputs, member.seed)
    package = Package(config=config, model=model, tasks=tasks, statistics=ready.statistics)

    if config.model.skip == "probe":
        seed = derive_seed(config.seed, *member.unit.seed_parts)
        fit_probe(package, workspace.samples, ready.pieces, rows["train"], seed, workspace.cache)

    order = _order(workspace, member, ready, model.encoders)
    dropout, zero_fill = config.model.modality_dropout, config.model.zero_fill
    num_steps = _num_steps(trainer, order)
    if num_steps == 0:
        for head in model.task_heads.values():
            head.keep_probe()
        return package, wholes(package_tensors(model))

    called = spread(model, accelerator, config)
    parameters = trainable(model)
    optimizer = accelerator.prepare_optimizer(make_optimizer(parameters, trainer))
    average = Average(parameters, trainer.average)
    progress = checkpoint.restore(member.checkpoints, parameters, average, optimizer)
    if progress.step > num_steps:
        raise ConfigError(
            f"trainer: {num_steps} steps are fewer than the {progress.step} trained; raise trainer.epochs"
        )

    if accelerator.is_main_process:
        history.begin(member.unit, member.number, progress.step)

    with _watched(member.label, num_steps, order.batch_size, accelerator.is_main_process) as watch:
        fit = Fit(
            folder=member.checkpoints,
            trainer=trainer,
            seed=member.seed,
            accelerator=accelerator,
            model=called,
            parameters=parameters,
            tasks=tasks,
            order=order,
            num_steps=num_steps,
            batches=Batches(workspace.samples, model.encoders, ready.pieces, dropout, zero_fill),
            tuning=inference_draws(rows["tuning"], trainer.micro_batch_size),
            optimizer=optimizer,
            average=average,
            log=lambda record: history.append(member.unit, member.number, record, num_steps),
            watch=watch,
            progress=progress,
        )
        train(fit)

    tensors = wholes(package_tensors(model))
    accelerator.free_memory()
    if accelerator.is_main_process:
        console.print(f"{member.label}: {progress}")
    return package, tensors


def _num_steps(trainer: Trainer, order: Order) -> int:
    """Return how many steps are asked for, or how many the epochs take."""
    return (
        math.ceil(trainer.epochs * order.steps_per_epoch)
        if trainer.max_steps is None
        else int(trainer.max_steps)
    )


@contextmanager
def _watched(label: str, num_steps: int, batch_size: int, shown: bool) -> Iterator[Watch]:
    """Yield what the loop calls after each step, to show people how the fit goes."""
    with progress_bar(label, num_steps, "samples", size=batch_size, shown=shown) as advance:

        def watch(step: int, record: dict[str, Any]) -> None:
            words = [f"loss {record['loss']:.3f}"]
            if scored := "tuning/score" in record:
                words.append(f"tuning score {record['tuning/score']:.4f}")
            advance(step, ", ".join(words), tell=scored)

        yield watch


def _order(
    workspace: Workspace, member: Member, ready: Prepared, modalities: Mapping[str, Modality]
) -> Order:
    trainer = workspace.config.trainer
    lengths = num_tokens(workspace.samples, modalities, ready.pieces)
    return Order(
        ready.rows["train"],
        lengths,
        batch_size=trainer.batch_size,
        micro_batch_size=trainer.micro_batch_size,
        micro_batch_tokens=trainer.micro_batch_tokens,
        seed=member.seed,
    )
