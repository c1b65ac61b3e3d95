"""The dry run: everything built, nothing trained; what train would refuse is refused here."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from meds.schema import subject_splits_filepath
from numpy.typing import NDArray
from rich.box import SIMPLE
from rich.table import Table
from rich.text import Text
from torch import nn

from clintune.config.schema import Adapter, Config, Splits, Trainer
from clintune.core.console import console
from clintune.core.seeding import derive_seed
from clintune.core.text import visible
from clintune.experiment.fold_data import check_fold, check_patience, remarks, suspicions
from clintune.experiment.folds import SPLITS, Fold, folds, rows_by_split, split_of
from clintune.experiment.inspect import inspect_samples, missing_media
from clintune.experiment.open import Experiment, open_experiment
from clintune.launch.device import check_device, on_this_machine
from clintune.model.build import build_model, fit_statistics
from clintune.model.fusion import Fusion
from clintune.storage.remote import is_remote
from clintune.tasks.base import Task
from clintune.training.sampler import num_steps

LORA_SHARE = 0.05
"""Share of trainable parameters above which a LoRA run is suspect: an adapter trains less."""
_CHEAP = 5_000_000
"""Samples times folds up to which every fold is drawn."""

Rows = dict[str, NDArray[np.int64]]


def dry_run(config: Config) -> None:
    """Print the model's parts, the trainings, the splits, and what budgets leave out.

    The model of the first fold is built. Raises what training would raise before its first step,
    where that can be known without reading every item.
    """
    check_device(config.strategy, config.trainer)
    experiment = open_experiment(on_this_machine(config))
    config, samples, modalities = experiment.config, experiment.samples, experiment.modalities
    missing = missing_media(experiment)

    every_fold = folds(config, Path(), samples)
    drawn = every_fold if len(every_fold) * len(samples) <= _CHEAP else every_fold[:1]
    by_fold = [rows_by_split(split_of(config, samples, fold)) for fold in drawn]
    said = [word for rows in by_fold for word in check_fold(samples, rows, experiment.tasks)]
    warnings = list(dict.fromkeys(said))
    check_patience(config.trainer, by_fold)

    # Build the model of the first fold, and print what a run of it is.
    rows = by_fold[0]
    statistics = fit_statistics(modalities, samples, rows["train"], experiment.cache)
    outputs = {name: task.num_outputs for name, task in experiment.tasks.items()}
    model = build_model(config, modalities, statistics, outputs, derive_seed(config.seed))
    console.print_table(_parts(experiment, model, outputs))
    _say_share(config.adapter, model)
    console.print(_trainings(config, every_fold, by_fold))
    console.print(_budget(experiment))
    console.print_table(_splits(experiment, by_fold, len(every_fold)))

    # Say what budgets leave out, and what looks wrong.
    limits, sources = inspect_samples(experiment, np.concatenate(list(rows.values())), missing)
    limits.warnings += [*remarks(modalities, statistics), *warnings]
    limits.warnings += suspicions(samples, by_fold, experiment.tasks, modalities, sources)
    for sentence in [*_passed_over(config), *limits.sentences()]:
        console.print(f"note: {visible(sentence)}", style="yellow")


def _parts(experiment: Experiment, model: Fusion, outputs: Mapping[str, int]) -> Table:
    """Return the parts of the model; their parameters add up to those of the whole."""
    config = experiment.config
    head = ("part", "kind", "shape", "mode", "trainable", "total")
    table = Table(*head, title=Text(visible(config.name)), box=SIMPLE, title_justify="left")
    counted = set[int]()

    def add(
        name: str, kind: str, shape: str, mode: str, parts: Sequence[nn.Module | nn.Parameter]
    ) -> None:
        sizes = [f"{number:,}" for number in _count(parts, counted)]
        table.add_row(*(Text(visible(cell)) for cell in (name, kind, shape, mode, *sizes)))

    for name, modality in experiment.modalities.items():
        width = modality.width or model.backbone.width
        shape = f"{modality.reader.max_pieces} x {modality.tokens_per_piece} x {width}"
        add(name, type(modality).__name__, shape, modality.mode, [modality])

    shape = f"{config.backbone.max_tokens} x {model.backbone.width}"
    add("backbone", config.backbone.source, shape, config.adapter.mode, [model.backbone])
    for name, projector in model.projectors.items():
        add(f"projectors.{name}", "Projector", str(model.backbone.width), "full", [projector])
    for name, part in model.heads.items():
        kind = type(experiment.tasks[name]).__name__
        add(f"tasks.{name}", kind, str(outputs[name]), "full", [part])
    add("time and modality embeddings, queries", "", "", "full", [model])

    trains, total = _count([model], set())
    table.add_row("all", "", "", "", f"{trains:,}", f"{total:,}", style="bold")
    return table


def _count(parts: Sequence[nn.Module | nn.Parameter], counted: set[int]) -> tuple[int, int]:
    """Return the numbers of (trainable, all) parameters that were not counted before."""
    trains = total = 0
    for part in parts:
        for parameter in part.parameters() if isinstance(part, nn.Module) else [part]:
            if id(parameter) not in counted:
                counted.add(id(parameter))
                total += parameter.numel()
                trains += parameter.numel() * parameter.requires_grad
    return trains, total


def _say_share(adapter: Adapter, model: Fusion) -> None:
    console.print(
        "shape: pieces a sample x tokens a piece x width; of the backbone: tokens x width; "
        "of a task: outputs"
    )
    trains, total = _count([model], set())
    console.print(f"trainable share {trains / total:.2%}")
    if adapter.mode == "lora" and trains > LORA_SHARE * total:
        console.print(
            f"note: {trains / total:.1%} of the parameters train, more than {LORA_SHARE:.0%}: this "
            "is more than a LoRA adapter; lower adapter.r, or freeze encoders "
            "(modalities.NAME.mode=frozen)",
            style="yellow",
        )


def _trainings(config: Config, every_fold: Sequence[Fold], by_fold: Sequence[Rows]) -> str:
    """Say how many models are trained, and in how many steps each."""
    trainer, folds = config.trainer, len(every_fold) // config.cv_repeats
    factors = ((folds, "fold"), (config.cv_repeats, "repeat"), (config.ensemble, "member"))
    product = [f"{number} {what}{'s'[: number > 1]}" for number, what in factors]
    total = len(every_fold) * config.ensemble
    steps = [num_steps(trainer, len(rows["train"])) for rows in by_fold]
    by = "trainer.epochs" if trainer.max_steps is None else "trainer.max_steps"
    batch = f"of {trainer.batch_size} samples ({by})"
    return f"trainings: {' x '.join(product)} = {total}, each of {_range(steps)} steps {batch}"


def _passed_over(config: Config) -> Iterator[str]:
    """Yield the settings that do not count beside others, or beside files of the cohort."""
    trainer = config.trainer
    if trainer.max_steps is not None and trainer.epochs != Trainer().epochs:
        steps, epochs = trainer.max_steps, trainer.epochs
        yield (
            f"trainer.max_steps {steps} counts, not trainer.epochs {epochs:g}; give one of the two"
        )

    for name, cohort in config.cohorts.items():
        key, splits, default = f"cohorts.{name}.splits", cohort.splits, Splits()
        if config.cv is not None and splits.held_out != default.held_out:
            yield (
                f"{key}.held_out does not count beside cv, which holds out its folds; "
                "leave one of them out"
            )

        asked = (splits.tuning, splits.held_out) != (default.tuning, default.held_out)
        own = Path(cohort.root) / subject_splits_filepath
        draws_subjects = config.cv is None and splits.group is None
        if draws_subjects and asked and not is_remote(cohort.root) and own.is_file():
            yield (
                f"{key}: its shares do not count, since the cohort has {subject_splits_filepath}; "
                "drop one of them"
            )


def _budget(experiment: Experiment) -> str:
    """Say how many tokens a sample may have."""
    endless = np.array([2**32])
    tokens = [int(part.num_tokens(endless)[0]) for part in experiment.modalities.values()]
    budget = sum(tokens) + len(experiment.tasks)
    limit = experiment.config.backbone.max_tokens
    return (
        f"token budget {min(budget, limit)} a sample (modalities ask for {budget}, "
        f"backbone.max_tokens is {limit})"
    )


def _splits(experiment: Experiment, by_fold: Sequence[Rows], num_folds: int) -> Table:
    """Return the counts of samples, subjects, labels and modalities by split.

    Over several folds, a cell holds the least and the most.
    """
    samples = experiment.samples
    title = "samples by split"
    if num_folds > 1:
        first = "" if len(by_fold) == num_folds else "the first of "
        title += f", of {first}{num_folds} folds"
    table = Table("", *SPLITS, title=title, title_justify="left", box=SIMPLE)

    counts: dict[str, list[list[int]]] = {}
    for rows in by_fold:
        for number, split in enumerate(SPLITS):
            for what, count in _facts(experiment, rows[split]):
                counts.setdefault(what, [[] for _ in SPLITS])[number].append(count)
    for what, by_split in counts.items():
        table.add_row(Text(visible(what)), *(_range(several) for several in by_split))

    num_left = len(samples) - sum(len(rows) for rows in by_fold[0].values())
    if num_left > 0:
        unlabelled = int((~samples.labelled()).sum())
        whole = unlabelled == num_left
        why = ": they have no label" if whole else f", {unlabelled} of them without a label"
        table.caption = f"{num_left} samples are in no split{why if unlabelled else ''}"
    return table


def _facts(experiment: Experiment, rows: NDArray[np.int64]) -> Iterator[tuple[str, int]]:
    """Yield what is counted of the samples of a split, with the number."""
    samples = experiment.samples
    yield "samples", len(rows)
    yield "subjects", len(np.unique(samples.subject[rows]))
    for name, task in experiment.tasks.items():
        yield from _labels(name, task, samples.targets(name)[rows])
    for name in experiment.modalities:
        yield f"with {name}", int((samples.num_items(name)[rows] > 0).sum())


def _labels(name: str, task: Task, targets: NDArray[np.float32]) -> Iterator[tuple[str, int]]:
    """Yield how many samples are labelled, and how many have which answer; classes lack the no."""
    known = ~np.isnan(targets).all(axis=1)
    yield f"tasks.{name}: labelled", int(known.sum())

    exclusive = [question for question in task.questions if question.is_multiclass]
    classes = {answer for question in exclusive for answer in question.answers}
    for view in task.binary_views:
        outcome = view.outcome(targets)
        what = f"tasks.{name}/{view.name}" if view.name else f"tasks.{name}"
        yield f"{what}: yes", int((outcome == 1).sum())
        if view.name not in classes:
            yield f"{what}: no", int((outcome == 0).sum())


def _range(numbers: Sequence[int]) -> str:
    low, high = min(numbers), max(numbers)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
