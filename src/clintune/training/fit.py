"""One member: statistics, caches, model, optimizer; then the loop."""

import math
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path

import numpy as np
from accelerate import Accelerator
from numpy.typing import NDArray

from clintune.core.errors import DataError
from clintune.core.seeding import derive_seed
from clintune.model.batching import Batches, Draw
from clintune.model.build import build_model, fit_statistics, make_modalities, trainable
from clintune.model.pieces import PieceSource
from clintune.package import Package, member_folders
from clintune.training import checkpoint
from clintune.training.bar import step_bar
from clintune.training.history import History
from clintune.training.loop import Fit, train
from clintune.training.optimizer import Average, make_optimizer
from clintune.training.order import Order, inference_draws
from clintune.training.partition import Unit, rows_by_split
from clintune.training.prepare import fill_caches
from clintune.training.probe import fit_probe
from clintune.training.workspace import Workspace, console


def fit_member(
    workspace: Workspace,
    unit: Unit,
    member: int,
    split: NDArray[np.str_],
    accelerator: Accelerator,
    history: History,
    run: Path,
) -> tuple[Package, int]:
    """Train one member on a unit's split; return it as a package, with the seed of its new weights."""
    config = workspace.config
    trainer = config.trainer
    seed = derive_seed(config.seed, "member", member, *unit.seed_parts)
    package, caches = build_member(workspace, split, seed, accelerator, run)
    rows = rows_by_split(split)
    if config.model.skip == "probe":
        fit_probe(package, workspace.samples, caches, rows["train"], derive_seed(config.seed, *unit.seed_parts))
    lengths = np.sum([workspace.samples.num_items(name) for name in package.model.encoders], axis=0)
    order = Order(
        rows["train"], lengths, batch_size=trainer.batch_size, micro_batch_size=trainer.micro_batch_size, seed=seed
    )
    steps = trainer.max_steps
    num_steps: int = math.ceil(trainer.epochs * order.steps_per_epoch) if steps is None else steps
    if num_steps == 0:
        for head in package.model.task_heads.values():
            head.keep_probe()
        return package, seed

    def batches(draws: Sequence[Draw]) -> Batches:
        return Batches(draws, workspace.samples, package.model.encoders, caches, config.model.modality_dropout)

    parameters = trainable(package.model)
    model, optimizer = accelerator.prepare(package.model, make_optimizer(parameters, trainer))
    folder = member_folders(unit.folder / "checkpoints", config.ensemble)[member]
    label = " ".join(filter(None, [unit.label, f"member {member}" if config.ensemble > 1 else ""])) or "train"
    if accelerator.is_main_process:
        history.rewind(unit, member, checkpoint.last_step(folder))
    with step_bar(label, num_steps, order.batch_size, accelerator.is_main_process) as watch:
        fit = Fit(
            folder=folder,
            trainer=trainer,
            seed=seed,
            accelerator=accelerator,
            model=model,
            parameters=parameters,
            tasks=package.tasks,
            order=order,
            num_steps=num_steps,
            batches=batches,
            tuning=inference_draws(rows["tuning"], trainer.micro_batch_size),
            optimizer=optimizer,
            average=Average(parameters, trainer.average),
            log=lambda record: history.append(unit, member, record),
            watch=watch,
        )
        progress = train(fit)
    accelerator.free_memory()
    if accelerator.is_main_process:
        console.print(f"{label}: {progress}")
    return package, seed


def build_member(
    workspace: Workspace, split: NDArray[np.str_], seed: int, accelerator: Accelerator, run: Path
) -> tuple[Package, dict[str, PieceSource]]:
    """Fit statistics and tasks on the training samples, build the model, fill the caches of all samples of the split.

    Raises DataError for a split without training samples, or a task without training labels.
    """
    config, samples = workspace.config, workspace.samples
    rows = rows_by_split(split)
    if not len(rows["train"]):
        raise DataError("no sample is in the training split; check the cohort's splits and labels")
    modalities, tasks = make_modalities(config), deepcopy(workspace.tasks)
    for name, task in tasks.items():
        targets = samples.targets(name)
        if np.isnan(targets[rows["train"]]).all():
            raise DataError(f"tasks.{name}: no training sample has a known label; check the split, or drop the task")
        task.fit(targets[rows["train"]])
    statistics = fit_statistics(modalities, samples, rows["train"], workspace.cache)
    model = build_model(config, modalities, statistics, {name: task.num_outputs for name, task in tasks.items()}, seed)
    caches = fill_caches(
        modalities,
        statistics,
        samples,
        np.concatenate(list(rows.values())),
        workspace.cache,
        device=accelerator.device,
        max_bad_fraction=config.data.max_bad_fraction,
        report=run / "unreadable.csv",
        workers=config.trainer.workers,
        limit_gb=config.data.cache_limit_gb,
    )
    return Package(config=config, model=model, tasks=tasks, statistics=statistics), caches
