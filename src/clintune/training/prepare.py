"""Everything read and computed once before training: each item's pieces, and the list of the unreadable ones."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from clintune.core.cache_folder import make_room
from clintune.core.console import console
from clintune.core.errors import DataError
from clintune.core.files import atomic_path
from clintune.modalities.base import Modality
from clintune.model.build import Statistics, build_modalities, fit_statistics, make_modalities
from clintune.model.cache import PieceCache
from clintune.model.pieces import PieceSource, TabledPieces
from clintune.tasks.base import Task
from clintune.training.partition import Unit, rows_by_split, split_of
from clintune.training.precision import precision
from clintune.training.processes import is_main
from clintune.training.strategy import local_device, num_workers
from clintune.training.workspace import Workspace

Unreadable = dict[str, str]
"""An item that could not be read: modality, row, reason."""


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """What the members of a unit share: the split of the samples, and all that was learnt or computed from it."""

    split: NDArray[np.str_]
    rows: dict[str, NDArray[np.int64]]
    tasks: dict[str, Task]
    modalities: dict[str, Modality]
    statistics: Statistics
    pieces: dict[str, PieceSource]
    unreadable: list[Unreadable]


def prepare_unit(workspace: Workspace, unit: Unit) -> Prepared:
    """Fit tasks and statistics on the training samples of a unit, and fill the caches of all its samples.

    Raises DataError for a split without training samples, or a task without training labels.
    """
    config, samples = workspace.config, workspace.samples
    split = split_of(config, samples, unit)
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
    if is_main():
        tell_held_back(modalities, statistics)
    build_modalities(modalities, statistics, config.seed)
    everything = np.concatenate(list(rows.values()))
    pieces, unreadable = fill_caches(workspace, modalities, statistics, everything, local_device())
    return Prepared(
        split=split,
        rows=rows,
        tasks=tasks,
        modalities=modalities,
        statistics=statistics,
        pieces=pieces,
        unreadable=unreadable,
    )


def tell_held_back(modalities: Mapping[str, Modality], statistics: Statistics) -> None:
    """Print what the statistics of each modality hold back, because too few training subjects have it."""
    for name, modality in modalities.items():
        if words := modality.held_back(statistics[name]):
            console.print(f"{name}: {words}")


def fill_caches(
    workspace: Workspace,
    modalities: Mapping[str, Modality],
    statistics: Statistics,
    rows: NDArray[np.int64],
    device: torch.device,
) -> tuple[dict[str, PieceSource], list[Unreadable]]:
    """Return where the pieces of each modality are, for what the samples `rows` see; prepare those that are missing.

    Any number of processes may call this at once: one does the work, the others wait and find it done. Frozen encoders
    run on `device` in the run's precision. Unreadable items are left out and returned too; where they are more than
    `data.max_bad_fraction` of a modality's items, DataError names the first. A cache larger than `data.cache_limit_gb`
    then loses what is longest unused.
    """
    config, samples, cache = workspace.config, workspace.samples, workspace.cache
    workers = num_workers(config.trainer.workers, device)
    sources: dict[str, PieceSource] = {}
    bad: list[Unreadable] = []
    codes = samples.codes().to_list()
    for name, modality in modalities.items():
        modality.to(device).eval()
        table = modality.tabulate(codes)
        if table is not None:
            sources[name] = TabledPieces(samples, name, table)
            continue
        items = samples.items(name, rows)
        pieces = PieceCache(name, modality, statistics[name], cache, precision(config)).fill(items, device, workers)
        sources[name] = pieces
        bad += [{"modality": name, "row": row, "reason": reason} for row, reason in pieces.errors.items()]
        check_readable(name, pieces.errors, len(items), config.data.max_bad_fraction)
    make_room(cache, config.data.cache_limit_gb)
    return sources, bad


def check_readable(
    modality: str, errors: Mapping[Any, object], num_items: int, max_bad_fraction: float, what: str = "items"
) -> None:
    """Raise DataError, with the first of the `errors`, where too many of a modality's items cannot be read."""
    if len(errors) > max_bad_fraction * num_items:
        raise DataError(
            f"modalities.{modality}: {len(errors)} of {num_items} {what} are unreadable, more than "
            f"data.max_bad_fraction={max_bad_fraction} allows; the first is {next(iter(errors.values()))}"
        )


def write_unreadable(report: Path, bad: list[Unreadable]) -> None:
    """Add unreadable items to `report` (CSV: modality, row, reason), each once."""
    if not bad:
        return
    known = [pl.read_csv(report)] if report.exists() else []
    with atomic_path(report) as partial:
        pl.concat([*known, pl.DataFrame(bad)]).unique(["modality", "row"], maintain_order=True).write_csv(partial)
    console.print(f"{len(bad)} unreadable items are left out; they are listed in {report}")
