"""Everything read and computed once before training: each item's pieces, and the list of the unreadable ones."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from clintune.cohort.samples import Samples
from clintune.core.cache_folder import make_room
from clintune.core.console import console
from clintune.core.errors import DataError
from clintune.core.files import atomic_path
from clintune.modalities.base import Modality
from clintune.model.build import Statistics
from clintune.model.cache import PieceCache
from clintune.model.pieces import PieceSource, TabledPieces
from clintune.training.strategy import num_workers

Unreadable = dict[str, str]
"""An item that could not be read: modality, row, reason."""


def fill_caches(
    modalities: Mapping[str, Modality],
    statistics: Statistics,
    samples: Samples,
    rows: NDArray[np.int64],
    cache: Path,
    *,
    device: torch.device,
    max_bad_fraction: float,
    workers: int | None = None,
    limit_gb: float | None = None,
) -> tuple[dict[str, PieceSource], list[Unreadable]]:
    """Return where the pieces of each modality are, for what the samples `rows` see; prepare those that are missing.

    Any number of processes may call this at once: one does the work, the others wait and find it done. Unreadable
    items are left out and returned too; where they are more than `max_bad_fraction` of a modality's items, DataError
    names the first. A cache larger than `limit_gb` then loses what is longest unused.
    """
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
        pieces = PieceCache(name, modality, statistics[name], cache).fill(items, device, num_workers(workers, device))
        sources[name] = pieces
        bad += [{"modality": name, "row": row, "reason": reason} for row, reason in pieces.errors.items()]
        if len(pieces.errors) > max_bad_fraction * len(items):
            raise DataError(
                f"modalities.{name}: {len(pieces.errors)} of {len(items)} items are unreadable, more than "
                f"data.max_bad_fraction={max_bad_fraction} allows; the first is {next(iter(pieces.errors.values()))}"
            )
    make_room(cache, limit_gb)
    return sources, bad


def write_unreadable(report: Path, bad: list[Unreadable]) -> None:
    """Add unreadable items to `report` (CSV: modality, row, reason), each once."""
    if not bad:
        return
    known = [pl.read_csv(report)] if report.exists() else []
    with atomic_path(report) as partial:
        pl.concat([*known, pl.DataFrame(bad)]).unique(["modality", "row"], maintain_order=True).write_csv(partial)
    console.print(f"{len(bad)} unreadable items are left out; they are listed in {report}")
