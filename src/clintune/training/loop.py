"""The loop. A step is an optimizer step over one batch, cut into micro-batches that all processes share."""

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
from clintune.features.batching import Batches, Draw
from clintune.launch.device import num_workers
from clintune.launch.signals import SIGNALS, asked_to_stop, step_by_step
from clintune.tasks.base import Task
from clintune.training import checkpoint
from clintune.training.checkpoint import Progress
from clintune.training.optimizer import Average, copy_into, schedule, set_rate
from clintune.training.sampler import Order
from clintune.training.sharding import gradients_meet, over_processes, whole
from clintune.training.stuck_parameters import MovementCheck, Seen

Watch = Callable[[int, dict[str, Any]], None]
"""Takes the step just done and its record, for the progress bar."""


@dataclass
class Fit:
    """One model to train: everything that the loop needs."""

    folder: Path
    """Where its checkpoints go."""
    trainer: Trainer
    seed: int
    accelerator: Accelerator
    model: nn.Module
    parameters: dict[str, nn.Parameter]
    tasks: Mapping[str, Task]
    order: Order
    num_steps: int
    batches: Batches
    tuning: list[Draw]
    optimizer: Any
    average: Average
    log: Callable[[dict[str, Any]], None]
    """Takes one record of the history; called on the main process."""
    watch: Watch
    progress: Progress
    """Where it stands: at the start, or at the checkpoint that it goes on from."""


def train(fit: Fit) -> None:
    """Train until the last step or until the tuning score stops improving; leave the chosen weights in the model.

    Raises TrainingError when the loss is not finite or a trainable tensor does not move; StoppedError, with a
    checkpoint written, when a process was asked to stop.
    """
    progress, trainer, accelerator = fit.progress, fit.trainer, fit.accelerator
    tune_every = trainer.tune_every or fit.order.steps_per_epoch
    save_every = trainer.checkpoint_every or tune_every
    movement = MovementCheck(fit.parameters if progress.step == 0 else {}, fit.optimizer)

    fit.model.train()
    with step_by_step():
        for micro_batches in loader(
            fit, fit.order.steps(progress.step, fit.num_steps, *_place(accelerator))
        ):
            if progress.finished:
                break
            # ---- one step -----------------------------------------------------------------------------------------
            set_rate(fit.optimizer, schedule(trainer, progress.step, fit.num_steps))
            losses, seen, stop = train_step(fit, progress.step, micro_batches)
            progress.step += 1
            fit.average.update(progress.step)
            if not accelerator.optimizer_step_was_skipped:
                movement.after_step(progress.step, seen, list(_idle(fit, losses)))
            record = {"step": progress.step, "loss": sum(losses.values())}
            record |= {f"loss/{task}": value for task, value in losses.items()}

            # ---- tune, log, save ----------------------------------------------------------------------------------
            last = progress.step == fit.num_steps
            if fit.tuning and (progress.step % tune_every == 0 or last):
                scores = tune(fit)
                record |= scores
                _judge(fit, scores["tuning/score"])
            if accelerator.is_main_process:
                fit.log(record)
                fit.watch(progress.step, record)
            if progress.step % save_every == 0 or last or progress.finished or stop:
                checkpoint.save(fit.folder, progress, fit.parameters, fit.average, fit.optimizer)
            if stop and not last:
                accelerator.wait_for_everyone()  # the checkpoint is whole before any process ends
                raise StoppedError(stop, f" after step {progress.step}")

    accelerator.wait_for_everyone()
    progress.finished = True
    if fit.tuning:
        checkpoint.load_best(fit.folder, fit.parameters)
    else:
        copy_into(fit.parameters, fit.average.values)


def train_step(
    fit: Fit, step: int, micro_batches: list[Batch]
) -> tuple[dict[str, float], Seen, int]:
    """Take one optimizer step; return each task's mean loss, which modalities met which labels, and the signal to stop.

    Labels are counted over all micro-batches and processes first, and each task's loss is divided by its count once,
    so that missing labels, ragged batches and the number of processes do not change the gradient.
    """
    accelerator, tasks = fit.accelerator, fit.tasks
    pairs = [(name, task) for name in _bare(fit.model).modalities for task in tasks]
    together = [
        float(sum(_num_together(batch, *pair) for batch in micro_batches)) for pair in pairs
    ]
    labels = [
        float(sum(_num_known(task, batch.targets[name]) for batch in micro_batches))
        for name, task in tasks.items()
    ]
    totals = over_processes([*labels, *together])
    counts = dict(zip(tasks, totals, strict=False))

    sums = torch.zeros(len(tasks), device=accelerator.device)
    suspects = []
    for number, batch in enumerate(micro_batches):
        is_last = number == len(micro_batches) - 1
        place = number * accelerator.num_processes + accelerator.process_index
        sync = gradients_meet(fit.model, accelerator, is_last)
        with seeded(fit.seed, "step", step, place), sync:
            with accelerator.autocast():
                outputs = fit.model(batch.to(accelerator.device))
            loss = outputs[next(iter(tasks))].sum() * 0.0
            for i, (name, task) in enumerate(tasks.items()):
                total, _ = task.loss(outputs[name], batch.targets[name].to(accelerator.device))
                part = task.weight * total / max(counts[name], 1.0)
                sums[i] += part.detach()
                loss = loss + part
            # DDP averages the gradients over processes; ours are parts of one sum.
            accelerator.backward(loss * accelerator.num_processes)
        suspects.append((outputs, batch.keys))

    norm = whole(accelerator.clip_grad_norm_(list(fit.parameters.values()), fit.trainer.clip))
    # Under fp16 the scaler itself skips a step whose gradient overflowed, and lowers its scale.
    _check_finite(
        accelerator,
        step,
        sums if accelerator.scaler else torch.cat([sums, norm.reshape(1)]),
        suspects,
    )
    fit.optimizer.step()
    fit.optimizer.zero_grad(set_to_none=True)
    asked = [float(asked_to_stop() == number) for number in SIGNALS]
    ended = over_processes([*sums.tolist(), *asked])
    losses, stop = (
        ended[: len(tasks)],
        next((s for s, num in zip(SIGNALS, ended[len(tasks) :], strict=True) if num), 0),
    )
    seen = {pair for pair, number in zip(pairs, totals[len(tasks) :], strict=True) if number}
    return dict(zip(tasks, losses, strict=True)), seen, stop


def tune(fit: Fit) -> dict[str, float]:
    """Score the averaged weights on the tuning split: each task's loss and metrics, and the score that selects."""
    process, num_processes = _place(fit.accelerator)
    draws = fit.tuning[process::num_processes]
    rounds = -(-len(fit.tuning) // num_processes)
    # Under fsdp2 all processes run as often; what a process runs once more to keep step is not counted.
    padded = draws + fit.tuning[: rounds - len(draws)]

    with fit.average.applied():
        parts = list(infer(fit, padded))[: len(draws)]
    fit.model.train()
    gathered = gather_object(parts)

    scores: dict[str, float] = {}
    losses, chosen = [], []
    for name, task in fit.tasks.items():
        outputs = torch.cat([part[0][name] for part in gathered])
        targets = torch.cat([part[1][name] for part in gathered])
        total, count = task.loss(outputs, targets)
        if count:
            losses.append(task.weight * float(total) / float(count))
        found = task.score(targets.numpy(), task.predict(outputs).numpy())
        if (metric := task.metric(fit.trainer.metric)) is not None:
            chosen.append(metric.signed(found[metric.name]))
        scores |= {f"tuning/{name}/{metric}": value for metric, value in found.items()}

    scores["tuning/loss"] = sum(losses)
    if fit.trainer.metric == "loss":
        chosen = [-scores["tuning/loss"]]
    if np.isnan(chosen).all():
        raise DataError(
            f"{_chosen_by(fit)} is undefined on the tuning split of every task, as where all have one answer; enlarge "
            "the split, or use trainer.metric=loss"
        )
    scores["tuning/score"] = float(np.nanmean(chosen))
    return scores


def _chosen_by(fit: Fit) -> str:
    """Say which metric chooses the best step."""
    if fit.trainer.metric is not None:
        return f"trainer.metric '{fit.trainer.metric}'"
    return f"the metric of the tasks ({', '.join(dict.fromkeys(task.metrics[0].title for task in fit.tasks.values()))})"


@torch.no_grad()
def infer(fit: Fit, draws: Sequence[Draw]) -> Iterator[tuple[dict[str, Tensor], dict[str, Tensor]]]:
    """Yield (logits, targets) of each batch, by task, float32 on the CPU."""
    model = fit.accelerator.unwrap_model(fit.model, keep_fp32_wrapper=True)
    model.eval()
    for (batch,) in loader(fit, [[draw] for draw in draws]):
        with fit.accelerator.autocast():
            outputs = model(batch.to(fit.accelerator.device))
        yield {task: logits.float().cpu() for task, logits in outputs.items()}, dict(batch.targets)


def loader(fit: Fit, draws: Sequence[list[Draw]]) -> "DataLoader[Any]":
    """Return a loader of the batches of each list of draws, which reads ahead into pinned memory beside a GPU."""
    device = fit.accelerator.device
    workers = num_workers(fit.trainer.workers, device)
    return DataLoader(
        fit.batches,
        batch_sampler=draws,
        collate_fn=list,
        num_workers=workers,
        pin_memory=device.type == "cuda",
        prefetch_factor=4 if workers else None,
    )


def _idle(fit: Fit, losses: Mapping[str, float]) -> Iterator[str]:
    """Yield what in the recipe may keep tensors from learning, as far as a step can tell."""
    for name, task in fit.tasks.items():
        if not task.weight:
            yield f"tasks.{name}.weight is 0: raise it, or drop the task"
        elif not losses[name]:
            yield f"the loss of tasks.{name} is 0 whatever the model says: its labels do not differ"
    longest, budget = (
        int(fit.order.lengths[fit.order.rows].max()) + len(fit.tasks),
        _bare(fit.model).max_tokens,
    )
    if longest > budget:
        yield f"samples have up to {longest} tokens, and backbone.max_tokens={budget} drops the oldest: raise it"


def _judge(fit: Fit, score: float) -> None:
    """Keep the best weights; give up after `patience` scores without a better one."""
    progress = fit.progress
    if progress.best_score is None or score > progress.best_score:
        progress.best_score, progress.best_step, progress.stale = score, progress.step, 0
        with fit.average.applied():
            checkpoint.save_best(fit.folder, fit.parameters)
    else:
        progress.stale += 1
        progress.finished = (
            fit.trainer.patience is not None and progress.stale >= fit.trainer.patience
        )


def _place(accelerator: Accelerator) -> tuple[int, int]:
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


def _bare(model: nn.Module) -> Any:
    return getattr(model, "module", model)


def _check_finite(
    accelerator: Accelerator,
    step: int,
    values: Tensor,
    suspects: list[tuple[dict[str, Tensor], list[str]]],
) -> None:
    """Stop all processes together, naming the samples whose outputs are not finite, or else all of the step's."""
    finite = accelerator.reduce(torch.isfinite(values).all().float().reshape(1), "min")
    if bool(finite):
        return
    keys, bad = [], []
    for outputs, batch_keys in suspects:
        fine = (
            torch.stack([logits.isfinite().all(1) for logits in outputs.values()]).all(0).tolist()
        )
        keys += batch_keys
        bad += [key for key, is_fine in zip(batch_keys, fine, strict=True) if not is_fine]
    named = sorted(gather_object(bad)) or sorted(gather_object(keys))
    raise TrainingError(
        f"step {step + 1}: loss or gradient is not finite; samples {', '.join(named)}; lower trainer.lr, or look at "
        "these samples' items"
    )
