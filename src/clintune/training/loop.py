"""The loop: a step is one optimizer step over a batch, whose micro-batches all processes share."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor, nn
from torch.utils.data import DataLoader

from clintune.config.schema import Trainer
from clintune.contracts import Batch
from clintune.core.errors import DataError, StoppedError, TrainingError
from clintune.core.seeding import seeded
from clintune.features.batching import Batches, BatchSpec
from clintune.launch.device import num_workers
from clintune.launch.signals import SIGNALS, deferred_signals, pending_signal
from clintune.tasks.base import Task
from clintune.training import checkpoint
from clintune.training.checkpoint import Progress
from clintune.training.optimizer import WeightEMA, copy_into, schedule, set_rate
from clintune.training.sampler import BatchSampler
from clintune.training.sharding import all_reduce_sum, full_tensor, gradient_sync
from clintune.training.stuck_parameters import LabelledPairs, StuckParameterCheck

OnStep = Callable[[int, dict[str, Any]], None]
"""Takes the step just done and its record, for the progress bar."""


@dataclass
class TrainingJob:
    """One model to train: everything that the loop needs."""

    folder: Path
    """Where its checkpoints go."""
    trainer: Trainer
    seed: int
    accelerator: Accelerator
    model: nn.Module
    parameters: dict[str, nn.Parameter]
    tasks: Mapping[str, Task]
    sampler: BatchSampler
    num_steps: int
    batches: Batches
    tuning: list[BatchSpec]
    optimizer: Any
    average: WeightEMA
    log: Callable[[dict[str, Any]], None]
    """Takes one record of the history; called on the main process."""
    on_step: OnStep
    progress: Progress
    """Where it stands: at the start, or at the checkpoint that it goes on from."""


def train(job: TrainingJob) -> None:
    """Train until the last step, or until the tuning score stops improving.

    The chosen weights are in the model afterwards. Raises TrainingError when the loss is not finite
    or a trainable tensor does not move; StoppedError, with a checkpoint written, when a process was
    asked to stop.
    """
    progress, trainer, accelerator = job.progress, job.trainer, job.accelerator
    tune_every = trainer.tune_every or job.sampler.steps_per_epoch
    save_every = trainer.checkpoint_every or tune_every
    watched = job.parameters if progress.step == 0 else {}
    stuck_parameters = StuckParameterCheck(watched, job.optimizer)

    job.model.train()
    with deferred_signals():
        steps = job.sampler.steps(progress.step, job.num_steps, *_rank_and_size(accelerator))
        for micro_batches in loader(job, steps):
            if progress.finished:
                break

            # Take one step.
            set_rate(job.optimizer, schedule(trainer, progress.step, job.num_steps))
            losses, seen, stop = train_step(job, progress.step, micro_batches)
            progress.step += 1
            job.average.update(progress.step)
            if not accelerator.optimizer_step_was_skipped:
                stuck_parameters.after_step(progress.step, seen, list(_idle(job, losses)))
            record = {"step": progress.step, "loss": sum(losses.values())}
            record |= {f"loss/{task}": value for task, value in losses.items()}

            # Validate and log.
            last = progress.step == job.num_steps
            if job.tuning and (progress.step % tune_every == 0 or last):
                scores = validate(job)
                record |= scores
                _update_best(job, scores["tuning/score"])
            if accelerator.is_main_process:
                job.log(record)
                job.on_step(progress.step, record)

            # Save, and end where a process was asked to stop.
            if progress.step % save_every == 0 or last or progress.finished or stop:
                checkpoint.save(job.folder, progress, job.parameters, job.average, job.optimizer)
            if stop and not last:
                accelerator.wait_for_everyone()  # the checkpoint is whole before any process ends
                raise StoppedError(stop, f" after step {progress.step}")

    _load_chosen(job)


def train_step(
    job: TrainingJob, step: int, micro_batches: list[Batch]
) -> tuple[dict[str, float], LabelledPairs, int]:
    """Take one optimizer step; return each task's mean loss, the pairs seen, and a signal.

    Labels are counted over all micro-batches and processes first, and each task's loss is divided
    by its count once, so that missing labels, ragged batches and the number of processes do not
    change the gradient. The signal is 0 where no process was asked to stop.
    """
    accelerator, tasks = job.accelerator, job.tasks
    counts, seen = _count_labels(job, micro_batches)
    sums, suspects = _accumulate_gradients(job, step, micro_batches, counts)

    # Under fp16 the scaler itself skips a step whose gradient overflowed, and lowers its scale.
    norm = full_tensor(accelerator.clip_grad_norm_(list(job.parameters.values()), job.trainer.clip))
    checked = sums if accelerator.scaler else torch.cat([sums, norm.reshape(1)])
    _check_finite(accelerator, step, checked, suspects)
    job.optimizer.step()
    job.optimizer.zero_grad(set_to_none=True)

    # Sum the losses over the processes, and learn whether one of them was asked to stop.
    asked = [float(pending_signal() == number) for number in SIGNALS]
    ended = all_reduce_sum([*sums.tolist(), *asked])
    losses = dict(zip(tasks, ended[: len(tasks)], strict=True))
    stop = next((s for s, num in zip(SIGNALS, ended[len(tasks) :], strict=True) if num), 0)
    return losses, seen, stop


def _count_labels(
    job: TrainingJob, micro_batches: Sequence[Batch]
) -> tuple[dict[str, float], LabelledPairs]:
    """Count each task's labels over all processes; return also the pairs seen."""
    pairs = [(name, task) for name in _unwrap(job.model).modalities for task in job.tasks]
    labels, together = dict.fromkeys(job.tasks, 0.0), dict.fromkeys(pairs, 0.0)
    for batch in micro_batches:
        for name, task in job.tasks.items():
            labels[name] += _num_known(task, batch.targets[name])
        for pair in pairs:
            together[pair] += _num_together(batch, *pair)

    totals = all_reduce_sum([*labels.values(), *together.values()])
    counts = dict(zip(job.tasks, totals, strict=False))
    seen = {pair for pair, num in zip(pairs, totals[len(job.tasks) :], strict=True) if num}
    return counts, seen


def _accumulate_gradients(
    job: TrainingJob, step: int, micro_batches: Sequence[Batch], counts: Mapping[str, float]
) -> tuple[Tensor, list[tuple[dict[str, Tensor], list[str]]]]:
    """Run forward and backward passes of all micro-batches.

    Return this process's part of each task's mean loss [tasks], and the outputs of each
    micro-batch with the keys of its samples.
    """
    accelerator, tasks = job.accelerator, job.tasks

    sums = torch.zeros(len(tasks), device=accelerator.device)
    suspects = []
    for number, batch in enumerate(micro_batches):
        is_last = number == len(micro_batches) - 1
        place = number * accelerator.num_processes + accelerator.process_index
        sync = gradient_sync(job.model, accelerator, is_last)
        with seeded(job.seed, "step", step, place), sync:
            with accelerator.autocast():
                outputs = job.model(batch.to(accelerator.device))
            loss = outputs[next(iter(tasks))].sum() * 0.0
            for i, (name, task) in enumerate(tasks.items()):
                total, _ = task.loss(outputs[name], batch.targets[name].to(accelerator.device))
                part = task.weight * total / max(counts[name], 1.0)
                sums[i] += part.detach()
                loss = loss + part
            # DDP averages the gradients over processes; ours are parts of one sum.
            accelerator.backward(loss * accelerator.num_processes)
        suspects.append((outputs, batch.keys))
    return sums, suspects


def validate(job: TrainingJob) -> dict[str, float]:
    """Score the averaged weights on the tuning split.

    Return each task's loss and metrics, and the score that selects the best step.
    """
    # Under fsdp2 all processes run equally often; a batch that only keeps step is not counted.
    process, num_processes = _rank_and_size(job.accelerator)
    specs = job.tuning[process::num_processes]
    rounds = -(-len(job.tuning) // num_processes)
    padded = specs + job.tuning[: rounds - len(specs)]

    with job.average.applied():
        parts = list(infer(job, padded))[: len(specs)]
    job.model.train()
    gathered = gather_object(parts)

    scores: dict[str, float] = {}
    losses, chosen = [], []
    for name, task in job.tasks.items():
        outputs = torch.cat([part[0][name] for part in gathered])
        targets = torch.cat([part[1][name] for part in gathered])
        total, count = task.loss(outputs, targets)
        if count:
            losses.append(task.weight * float(total) / float(count))
        found = task.score(targets.numpy(), task.predict(outputs).numpy())
        if (metric := task.metric(job.trainer.metric)) is not None:
            chosen.append(metric.signed(found[metric.name]))
        scores |= {f"tuning/{name}/{metric}": value for metric, value in found.items()}

    scores["tuning/loss"] = sum(losses)
    if job.trainer.metric == "loss":
        chosen = [-scores["tuning/loss"]]
    if np.isnan(chosen).all():
        raise DataError(
            f"{_chosen_by(job)} is undefined on the tuning split of every task, as where all have "
            "one answer; enlarge the split, or use trainer.metric=loss"
        )
    scores["tuning/score"] = float(np.nanmean(chosen))
    return scores


def _chosen_by(job: TrainingJob) -> str:
    """Say which metric chooses the best step."""
    if job.trainer.metric is not None:
        return f"trainer.metric '{job.trainer.metric}'"
    titles = dict.fromkeys(task.metrics[0].title for task in job.tasks.values())
    return f"the metric of the tasks ({', '.join(titles)})"


@torch.no_grad()
def infer(
    job: TrainingJob, specs: Sequence[BatchSpec]
) -> Iterator[tuple[dict[str, Tensor], dict[str, Tensor]]]:
    """Yield (logits, targets) of each batch, by task, float32 on the CPU."""
    model = job.accelerator.unwrap_model(job.model, keep_fp32_wrapper=True)
    model.eval()
    for (batch,) in loader(job, [[spec] for spec in specs]):
        with job.accelerator.autocast():
            outputs = model(batch.to(job.accelerator.device))
        yield {task: logits.float().cpu() for task, logits in outputs.items()}, dict(batch.targets)


def loader(job: TrainingJob, specs: Sequence[list[BatchSpec]]) -> "DataLoader[Any]":
    """Return a loader of the batches of each list of specs; it pins memory where there is a GPU."""
    device = job.accelerator.device
    workers = num_workers(job.trainer.workers, device)
    return DataLoader(
        job.batches,
        batch_sampler=specs,
        collate_fn=list,
        num_workers=workers,
        pin_memory=device.type == "cuda",
        prefetch_factor=4 if workers else None,
    )


def _idle(job: TrainingJob, losses: Mapping[str, float]) -> Iterator[str]:
    """Yield what in the recipe may keep tensors from learning, as far as a step can tell."""
    for name, task in job.tasks.items():
        if not task.weight:
            yield f"tasks.{name}.weight is 0: raise it, or drop the task"
        elif not losses[name]:
            yield f"the loss of tasks.{name} is 0 whatever the model says: its labels do not differ"

    longest = int(job.sampler.lengths[job.sampler.rows].max()) + len(job.tasks)
    budget = _unwrap(job.model).max_tokens
    if longest > budget:
        yield (
            f"samples have up to {longest} tokens, and backbone.max_tokens={budget} drops the "
            "oldest: raise it"
        )


def _update_best(job: TrainingJob, score: float) -> None:
    """Keep the best weights; give up after `patience` scores without a better one."""
    progress = job.progress
    if progress.best_score is None or score > progress.best_score:
        progress.best_score, progress.best_step, progress.stale = score, progress.step, 0
        with job.average.applied():
            checkpoint.save_best(job.folder, job.parameters)
    else:
        progress.stale += 1
        patience = job.trainer.patience
        progress.finished = patience is not None and progress.stale >= patience


def _load_chosen(job: TrainingJob) -> None:
    """Load the best weights into the model; without a tuning split, the averaged ones."""
    job.accelerator.wait_for_everyone()
    job.progress.finished = True
    if job.tuning:
        checkpoint.load_best(job.folder, job.parameters)
    else:
        copy_into(job.parameters, job.average.values)


def _rank_and_size(accelerator: Accelerator) -> tuple[int, int]:
    """Return which process this is, of how many."""
    return accelerator.process_index, accelerator.num_processes


def _num_known(task: Task, targets: Tensor) -> int:
    return int(task.loss(torch.zeros(len(targets), task.num_outputs), targets)[1])


def _num_together(batch: Batch, modality: str, task: str) -> int:
    """Count the pieces of a modality whose sample has a label of the task."""
    if modality not in batch.pieces:
        return 0
    labelled = ~batch.targets[task].isnan().all(dim=1)
    return int(labelled[batch.pieces[modality].owner].sum())


def _unwrap(model: nn.Module) -> Any:
    return getattr(model, "module", model)


def _check_finite(
    accelerator: Accelerator,
    step: int,
    values: Tensor,
    suspects: list[tuple[dict[str, Tensor], list[str]]],
) -> None:
    """Raise TrainingError in all processes together where a value is not finite in one of them.

    It names the samples whose outputs are not finite, or else all samples of the step.
    """
    finite = accelerator.reduce(torch.isfinite(values).all().float().reshape(1), "min")
    if bool(finite):
        return

    keys, bad = [], []
    for outputs, batch_keys in suspects:
        by_task = torch.stack([logits.isfinite().all(1) for logits in outputs.values()])
        fine = by_task.all(0).tolist()
        keys += batch_keys
        bad += [key for key, is_fine in zip(batch_keys, fine, strict=True) if not is_fine]

    named = sorted(gather_object(bad)) or sorted(gather_object(keys))
    raise TrainingError(
        f"step {step + 1}: loss or gradient is not finite; samples {', '.join(named)}; "
        "lower trainer.lr, or look at these samples' items"
    )
