"""One member: its model, optimizer and order of data; then the loop."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from torch import Tensor

from clintune.config.schema import Config
from clintune.core.console import console
from clintune.core.errors import ConfigError
from clintune.core.progress_bar import progress_bar
from clintune.core.seeding import derive_seed
from clintune.experiment.fold_data import FoldData
from clintune.experiment.folds import Fold
from clintune.experiment.open import Experiment
from clintune.features.batching import Batches, num_tokens, sequential_batches
from clintune.modalities.base import Modality
from clintune.model.build import build_model, make_modalities, trainable
from clintune.package.contents import Package, package_tensors
from clintune.package.members import member_folders
from clintune.training import checkpoint
from clintune.training.history import History
from clintune.training.loop import OnStep, TrainingJob, train
from clintune.training.optimizer import WeightEMA, make_optimizer
from clintune.training.probe import fit_probe
from clintune.training.sampler import BatchSampler, num_steps
from clintune.training.sharding import distribute_model, gather_state_dict


@dataclass(frozen=True, kw_only=True)
class Member:
    """One model of a fold: several, with seeds of their own, make an ensemble."""

    fold: Fold
    number: int
    seed: int
    label: str
    checkpoints: Path
    package: Path


def members(config: Config, fold: Fold) -> list[Member]:
    """Return the members of a fold, in the order in which they are trained."""
    checkpoints = member_folders(fold.folder / "checkpoints", config.ensemble)
    packages = member_folders(fold.folder / "package", config.ensemble)

    found = []
    for number in range(config.ensemble):
        words = [fold.label, f"member {number}" if config.ensemble > 1 else ""]
        member = Member(
            fold=fold,
            number=number,
            seed=derive_seed(config.seed, "member", number, *fold.seed_parts),
            label=" ".join(filter(None, words)) or "train",
            checkpoints=checkpoints[number],
            package=packages[number],
        )
        found.append(member)
    return found


def train_member(
    experiment: Experiment,
    member: Member,
    ready: FoldData,
    accelerator: Accelerator,
    history: History,
) -> tuple[Package, dict[str, Tensor]]:
    """Train one member; return its package, and the package's tensors, whole on every process."""
    package = _build_package(experiment, member, ready)
    model = package.model
    sampler = _make_sampler(experiment, member, ready, model.encoders)
    steps = num_steps(experiment.config.trainer, len(ready.rows["train"]))
    if steps == 0:
        for head in model.task_heads.values():
            head.answer_with_probe()
        return package, gather_state_dict(package_tensors(model))

    # Go on from the last checkpoint.
    job = _make_job(experiment, member, ready, package, sampler, steps, accelerator, history)
    progress, is_main = job.progress, accelerator.is_main_process
    if progress.step > steps:
        raise ConfigError(
            f"trainer: {steps} steps are fewer than the {progress.step} trained; "
            "raise trainer.epochs"
        )
    if is_main:
        history.begin(member.fold, member.number, progress.step)

    # Train.
    with _progress_shown(member.label, steps, sampler.batch_size, is_main) as on_step:
        train(replace(job, on_step=on_step))

    tensors = gather_state_dict(package_tensors(model))
    accelerator.free_memory()
    if is_main:
        console.print(f"{member.label}: {progress}")
    return package, tensors


def _build_package(experiment: Experiment, member: Member, ready: FoldData) -> Package:
    """Build the member's model with its tasks and statistics, and fit its probe if it has one."""
    config, tasks = experiment.config, deepcopy(ready.tasks)
    outputs = {name: task.num_outputs for name, task in tasks.items()}
    modalities = make_modalities(config.modalities)
    model = build_model(config, modalities, ready.statistics, outputs, member.seed)
    package = Package(config=config, model=model, tasks=tasks, statistics=ready.statistics)

    if model.probe:
        seed, rows = derive_seed(config.seed, *member.fold.seed_parts), ready.rows["train"]
        fit_probe(package, experiment.samples, ready.pieces, rows, seed, experiment.cache)
    return package


def _make_job(
    experiment: Experiment,
    member: Member,
    ready: FoldData,
    package: Package,
    sampler: BatchSampler,
    steps: int,
    accelerator: Accelerator,
    history: History,
) -> TrainingJob:
    """Distribute the model, restore its last checkpoint, and return the job, which shows nobody."""
    config, model = experiment.config, package.model
    called = distribute_model(model, accelerator, config.strategy)
    parameters = trainable(model)
    optimizer = accelerator.prepare_optimizer(make_optimizer(parameters, config.trainer))
    average = WeightEMA(parameters, config.trainer.average)
    progress = checkpoint.restore(member.checkpoints, parameters, average, optimizer)

    dropout, zero_fill = config.model.modality_dropout, config.model.zero_fill
    return TrainingJob(
        folder=member.checkpoints,
        trainer=config.trainer,
        seed=member.seed,
        accelerator=accelerator,
        model=called,
        parameters=parameters,
        tasks=package.tasks,
        sampler=sampler,
        num_steps=steps,
        batches=Batches(experiment.samples, model.encoders, ready.pieces, dropout, zero_fill),
        tuning=sequential_batches(ready.rows["tuning"], config.trainer.micro_batch_size),
        optimizer=optimizer,
        average=average,
        log=lambda record: history.append(member.fold, member.number, record, steps),
        on_step=lambda step, record: None,
        progress=progress,
    )


@contextmanager
def _progress_shown(label: str, num_steps: int, batch_size: int, shown: bool) -> Iterator[OnStep]:
    """Yield the function that the loop calls after each step, to show how the training goes."""
    with progress_bar(label, num_steps, "samples", size=batch_size, shown=shown) as advance:

        def on_step(step: int, record: dict[str, Any]) -> None:
            words = [f"loss {record['loss']:.3f}"]
            if scored := "tuning/score" in record:
                words.append(f"tuning score {record['tuning/score']:.4f}")
            advance(step, ", ".join(words), tell=scored)

        yield on_step


def _make_sampler(
    experiment: Experiment, member: Member, ready: FoldData, modalities: Mapping[str, Modality]
) -> BatchSampler:
    trainer = experiment.config.trainer
    lengths = num_tokens(experiment.samples, modalities, ready.pieces)
    return BatchSampler(
        ready.rows["train"],
        lengths,
        batch_size=trainer.batch_size,
        micro_batch_size=trainer.micro_batch_size,
        micro_batch_tokens=trainer.micro_batch_tokens,
        seed=member.seed,
    )
