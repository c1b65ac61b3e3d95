"""Everything read and computed once before training: each item's pieces, and the list of the unreadable ones."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from rich.progress import track

from clintune.cohort.mirror import fetch_media
from clintune.cohort.samples import Samples
from clintune.contracts import Item
from clintune.core.errors import DataError
from clintune.core.files import atomic_path
from clintune.modalities.base import Modality
from clintune.model.build import Statistics
from clintune.model.cache import PieceCache
from clintune.training.workspace import console

Unreadable = dict[str, str]
"""An item that could not be read: modality, row, reason."""


def fill_caches(
    modalities: Mapping[str, Modality],
    statistics: Statistics,
    samples: Samples,
    rows: NDArray[np.int64],
    cache: Path,
    *,
    device: str | torch.device,
    max_bad_fraction: float,
) -> tuple[dict[str, PieceCache], list[Unreadable]]:
    """Return the filled cache of each modality that reads text or files, for what the samples `rows` see.

    Unreadable items are left out and returned too; where they are more than `max_bad_fraction` of a modality's items,
    DataError names the first.
    """
    caches: dict[str, PieceCache] = {}
    bad: list[Unreadable] = []
    for name, modality in modalities.items():
        if not modality.cached:
            continue
        caches[name] = PieceCache(modality, statistics[name], cache / "pieces")
        modality.to(device).eval()
        items = list(samples.items(name, rows))
        fetch_media(item.path for item in items)
        shown = track(items, f"prepare {name}", console=console, transient=True)
        errors = caches[name].fill(modality, _views(shown, modality.views), device)
        bad += [{"modality": name, "row": row, "reason": str(error)} for row, error in errors.items()]
        if len(errors) > max_bad_fraction * len(items):
            raise DataError(
                f"modalities.{name}: {len(errors)} of {len(items)} items are unreadable, more than "
                f"data.max_bad_fraction={max_bad_fraction} allows; the first is {next(iter(errors.values()))}"
            )
    return caches, bad


def write_unreadable(report: Path, bad: list[Unreadable]) -> None:
    """Add unreadable items to `report` (CSV: modality, row, reason), each once."""
    if not bad:
        return
    known = [pl.read_csv(report)] if report.exists() else []
    with atomic_path(report) as partial:
        pl.concat([*known, pl.DataFrame(bad)]).unique(["modality", "row"], maintain_order=True).write_csv(partial)
    console.print(f"{len(bad)} unreadable items are left out; they are listed in {report}")


def _views(items: Iterable[Item], num_views: int) -> Iterator[tuple[Item, int]]:
    return ((item, view) for item in items for view in range(num_views))
