"""Compute once what training needs: the pieces of all items, and what is left out or suspect."""

import re
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import torch
from meds.schema import held_out_split, tuning_split
from numpy.typing import NDArray

from clintune.cohort.checks import equal_cohorts
from clintune.cohort.samples import Samples
from clintune.config.schema import Trainer
from clintune.core.console import console
from clintune.core.disclosure import SMALLEST_SHOWN
from clintune.core.errors import ConfigError, DataError
from clintune.core.files import atomic_path
from clintune.core.problems import Problem, raise_first
from clintune.core.text import visible
from clintune.experiment.cohorts_apart import between_cohorts
from clintune.experiment.folds import Fold, rows_by_split, split_of
from clintune.experiment.label_leaks import check_answers, find_leaks
from clintune.experiment.limits import Counted, Limits, measure, write_limits
from clintune.experiment.open import Experiment
from clintune.experiment.twins import alike_classes, in_two_cohorts, one_for_many
from clintune.features.cache import PieceCache
from clintune.features.columnar import ColumnarPieces, columnar
from clintune.features.pieces import StoredPieces
from clintune.launch.device import local_device, num_workers
from clintune.layers.precision import resolve_precision
from clintune.modalities.base import Modality
from clintune.model.build import Statistics, build_modalities, fit_statistics, make_modalities
from clintune.storage.cache_folder import evict
from clintune.tasks.base import Task
from clintune.tasks.promises import FEW, check_tasks

UNREADABLE = "unreadable.csv"
_ROW = re.compile(r"\A.*?: row \d+: ")
_LACKING = {
    tuning_split: (
        "the last step is kept rather than the best, and nothing calibrates or stops early",
        "the best step, and the calibration, are chosen by chance",
    ),
    held_out_split: (
        "the run cannot be evaluated",
        "its figures have no intervals, and say little",
    ),
}
"""Consequences of a split without a sample, and of a split with few."""
Unreadable = dict[str, str]
"""An item that could not be read: its modality, row, and reason."""


@dataclass(frozen=True, kw_only=True)
class FoldData:
    """What the members of a fold share: the split of the samples, and all that follows from it."""

    split: NDArray[np.str_]
    rows: dict[str, NDArray[np.int64]]
    tasks: dict[str, Task]
    modalities: dict[str, Modality]
    statistics: Statistics
    pieces: dict[str, StoredPieces | ColumnarPieces]
    unreadable: list[Unreadable]
    limits: Limits


def prepare_fold(
    experiment: Experiment, fold: Fold, run: Path | None = None, *, one_answer_will_do: bool = False
) -> FoldData:
    """Fit tasks and statistics on a fold's training samples, and fill the caches for all samples.

    Raises DataError as `check_fold` and `precompute_pieces` do; the latter writes its list to the
    folder `run`.
    """
    # Split the samples.
    config, samples = experiment.config, experiment.samples
    split = split_of(config, samples, fold)
    rows = rows_by_split(split)

    # Fit tasks, then statistics, on the training samples.
    modalities, tasks = make_modalities(config.modalities), deepcopy(experiment.tasks)
    warnings = check_fold(samples, rows, tasks, one_answer_will_do=one_answer_will_do)
    if not one_answer_will_do:
        check_patience(config.trainer, [rows])
    statistics = fit_statistics(modalities, samples, rows["train"], experiment.cache)
    build_modalities(modalities, statistics, config.seed)

    # Compute the pieces of all samples.
    everything = np.concatenate(list(rows.values()))
    pieces, unreadable = precompute_pieces(
        experiment, modalities, statistics, everything, local_device(), run
    )

    # Measure what is left out.
    limits = measure(samples, everything, modalities, pieces, config.backbone.max_tokens)
    limits.warnings += [*remarks(modalities, statistics), *warnings]
    limits.warnings += suspicions(samples, [rows], tasks, modalities, pieces)
    return FoldData(
        split=split,
        rows=rows,
        tasks=tasks,
        modalities=modalities,
        statistics=statistics,
        pieces=pieces,
        unreadable=unreadable,
        limits=limits,
    )


def check_fold(
    samples: Samples,
    rows: Mapping[str, NDArray[np.int64]],
    tasks: Mapping[str, Task],
    *,
    one_answer_will_do: bool = False,
) -> list[str]:
    """Fit the tasks on the training samples of a fold; return sentences on what is suspect.

    There is a sentence for each split with one answer only, and for classes and samples that stand
    twice. `rows` are the samples of each split. Raises DataError for cohorts of the same people, a
    split without training samples, a task without training labels and, unless `one_answer_will_do`,
    a training split in which every task has one answer only.
    """
    raise_first(training_problems(samples, rows["train"]))
    for name, task in tasks.items():
        task.fit(samples.targets(name)[rows["train"]])
    check_tasks(tasks, {name: _few_known(samples.targets(name)[rows["train"]]) for name in tasks})

    said, learnable = check_answers(samples, rows, tasks)
    if not (learnable or one_answer_will_do):
        raise DataError(f"{said[0]}: correct the labels, or the splits of the cohort")
    return [*said, *alike_classes(tasks), *in_two_cohorts(samples)]


def _few_known(targets: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a few of the targets [N, T] of which something is known."""
    known = ~np.isnan(targets).all(axis=1)
    return targets[known][:FEW]


def training_problems(samples: Samples, train: NDArray[np.int64]) -> Iterator[Problem]:
    """Yield each cohort of the same people as another, and what lacks among the samples `train`.

    That is any sample, or a known label of a task.
    """
    yield from equal_cohorts({index.name: index.root for index in samples.indexes})
    if not len(train):
        what = "no sample is in the training split"
        yield Problem("splits", what, "check the cohort's splits and labels")
        return

    for name in samples.tasks:
        if np.isnan(samples.targets(name)[train]).all():
            remedy = "check the split, or drop the task"
            yield Problem(f"tasks.{name}", "no training sample has a known label", remedy)


def check_patience(trainer: Trainer, by_fold: Sequence[Mapping[str, NDArray[np.int64]]]) -> None:
    """Raise ConfigError if a run would wait for tuning scores that never come.

    `by_fold` holds the rows of each fold by split.
    """
    if trainer.patience is not None and not all(len(rows[tuning_split]) for rows in by_fold):
        raise ConfigError(
            "'trainer.patience' waits for tuning scores, but no sample is in the tuning split; "
            "put subjects there, or drop patience"
        )


def suspicions(
    samples: Samples,
    by_fold: Sequence[Mapping[str, NDArray[np.int64]]],
    tasks: Mapping[str, Task],
    modalities: Mapping[str, Modality],
    sources: Mapping[str, Counted],
) -> list[str]:
    """Return a sentence for each thing that is suspect in the data of folds.

    `by_fold` holds the rows of each fold by split, `sources` the pieces of each modality. Sizes of
    splits are checked in all folds, the rest in the first fold alone.
    """
    rows = by_fold[0]
    tabled = [name for name, source in sources.items() if isinstance(source, ColumnarPieces)]
    return [
        *find_leaks(samples, rows["train"], tasks, list(modalities), sources),
        *between_cohorts(samples, tabled),
        *one_for_many(samples, np.concatenate(list(rows.values())), modalities, sources),
        *small_splits(samples, by_fold),
    ]


def small_splits(samples: Samples, by_fold: Sequence[Mapping[str, NDArray[np.int64]]]) -> list[str]:
    """Return a sentence for each of tuning and held-out split that has no, or few, subjects.

    `by_fold` holds the rows of each fold by split.
    """
    sentences = []
    for split, (if_empty, if_small) in _LACKING.items():
        sizes = [len(np.unique(samples.subject[rows[split]])) for rows in by_fold]
        empty, small = sizes.count(0), sum(0 < size < SMALLEST_SHOWN for size in sizes)
        few = f"fewer than {SMALLEST_SHOWN} subjects are"

        cases = ((empty, "no sample is", if_empty), (small, few, if_small))
        for number, said, so in cases:
            if number:
                folds = "" if len(by_fold) == 1 else f" of {number} folds"
                sentences.append(f"{said} in the {split} split{folds}: {so}")
    return sentences


def remarks(modalities: Mapping[str, Modality], statistics: Statistics) -> list[str]:
    """Return what the statistics hold back, and what is doubtful in the training items."""
    return [
        f"{name}: {said}"
        for name, part in modalities.items()
        for said in part.reader.remarks(statistics[name])
    ]


def precompute_pieces(
    experiment: Experiment,
    modalities: Mapping[str, Modality],
    statistics: Statistics,
    rows: NDArray[np.int64],
    device: torch.device,
    run: Path | None = None,
) -> tuple[dict[str, StoredPieces | ColumnarPieces], list[Unreadable]]:
    """Return the source of each modality's pieces for the samples `rows`; compute what is missing.

    Any number of processes may call this at once: one does the work, the others wait and find it
    done. Frozen encoders run on `device` in the run's precision. Unreadable items are left out and
    returned too. If they are more than `data.max_bad_fraction` of a modality's items, DataError
    names the first, and the file in `run`, or in the cache, that lists them all. At the end a cache
    larger than `data.cache_limit_gb` loses the entries unused for longest.
    """
    config, samples, cache = experiment.config, experiment.samples, experiment.cache
    workers = num_workers(config.trainer.workers, device)
    precision = resolve_precision(config.trainer.precision)
    sources: dict[str, StoredPieces | ColumnarPieces] = {}
    bad: list[Unreadable] = []
    for name, modality in modalities.items():
        # Rows of a table need no cache.
        modality.to(device).eval()
        rows_of = columnar(samples, name, modality)
        if rows_of is not None:
            sources[name] = rows_of
            continue

        # Compute the pieces of all other items.
        items = samples.items(name, rows)
        piece_cache = PieceCache(name, modality, statistics[name], cache, precision)
        pieces = piece_cache.fill(items, device, workers)
        sources[name] = pieces

        # List those that could not be read.
        mine = [
            {"modality": name, "row": row, "reason": reason_alone(why)}
            for row, why in pieces.errors.items()
        ]
        check_readable(mine, len(items), config.data.max_bad_fraction, (run or cache) / UNREADABLE)
        bad += mine
    evict(cache, config.data.cache_limit_gb)
    return sources, bad


def check_readable(
    bad: Sequence[Unreadable],
    num_items: int,
    max_bad_fraction: float,
    listed: Path | None,
    what: str = "items",
) -> None:
    """Raise DataError, with the first unreadable item of a modality, if too many items are so.

    All of them are then listed in the CSV file `listed`, if it is given, in place of an older list.
    """
    if len(bad) <= max_bad_fraction * num_items:
        return

    key, where = "max_bad_fraction", ""
    if listed is not None:
        with atomic_path(listed) as partial:
            pl.DataFrame(bad).write_csv(partial)
        key, where = "data.max_bad_fraction", f"; they are listed in {listed}"
    raise DataError(
        f"modalities.{bad[0]['modality']}: {len(bad)} of {num_items} {what} are unreadable, "
        f"more than {key}={max_bad_fraction} allows; "
        f"the first is {bad[0]['row']}: {bad[0]['reason']}{where}"
    )


def reason_alone(error: object) -> str:
    """Return what is wrong with an item, without its row, which has a column of its own.

    Items of equal content share an error, which names the row of the first of them.
    """
    return _ROW.sub("", str(error), count=1)


def report_limits(run: Path, ready: FoldData) -> None:
    """Write to the run folder what a fold leaves out and what is suspect; print what is new."""
    write_unreadable(run / UNREADABLE, ready.unreadable)
    if write_limits(run, ready.limits):
        for sentence in ready.limits.sentences():
            console.print(f"note: {visible(sentence)}")


def write_unreadable(report: Path, bad: list[Unreadable]) -> None:
    """Add unreadable items to `report` (CSV: modality, row, reason), each once."""
    if not bad:
        return
    known = [pl.read_csv(report, glob=False)] if report.exists() else []
    table = pl.concat([*known, pl.DataFrame(bad)])
    with atomic_path(report) as partial:
        table.unique(["modality", "row"], maintain_order=True).write_csv(partial)
    console.print(f"{len(bad)} unreadable items are left out; they are listed in {report}")
