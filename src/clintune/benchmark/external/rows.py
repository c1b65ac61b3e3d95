"""What a peer reads of a sample: a row of plain numbers, the notes as one text, and an image."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from clintune.benchmark.baselines.features import embeddings, items_by_owner, texts
from clintune.benchmark.external.images import ImageFiles
from clintune.cohort.samples import Samples
from clintune.experiment.fold_data import FoldData
from clintune.modalities.base import Modality
from clintune.modalities.imaging import Imaging
from clintune.modalities.notes import NativeNotes, Notes
from clintune.modalities.static import Static


class PeerRows:
    """Reads the samples of a fold as rows.

    Numbers are what a probe reads of plain facts and of signals. A fact has a column of its value,
    null where it is absent, and one of whether it is there. Notes are one text, oldest first. Of
    several images the path of the newest is taken.
    """

    def __init__(self, ready: FoldData, images: ImageFiles) -> None:
        self.ready = ready
        self.images = images
        self.notes: dict[str, Modality] = {}
        self.imaging: list[str] = []
        self.numeric: dict[str, Modality] = {}
        for name, part in ready.modalities.items():
            if isinstance(part, Notes | NativeNotes):
                self.notes[name] = part
            elif isinstance(part, Imaging):
                self.imaging.append(name)
            elif part.probe_width:
                self.numeric[name] = part

    def read(self, samples: Samples, rows: NDArray[np.int64]) -> pl.DataFrame:
        """Return a row for each of the samples `rows`."""
        columns = self._numbers(samples, rows)
        if self.notes:
            found = texts(self._only(self.notes))(samples, rows)["text"][:, 0]
            columns.append(pl.Series("text", [text or None for text in found], pl.String))
        if self.imaging:
            columns.append(pl.Series("image", self._newest_images(samples, rows), pl.String))
        return pl.DataFrame(columns)

    def _numbers(self, samples: Samples, rows: NDArray[np.int64]) -> list[pl.Series]:
        if not self.numeric:
            return []
        blocks = embeddings(self._only(self.numeric), None)(samples, rows)
        columns = []
        for name, block in blocks.items():
            part = self.numeric[name]
            if isinstance(part, Static):
                values, marks = np.split(block, [len(part.index)], axis=1)
                present = marks[:, : len(part.index)]  # behind these stands the mark of rare codes

                # A probe reads both on one scale, on which a mark is not 1. All are NaN where the
                # sample has no fact.
                with np.errstate(invalid="ignore", divide="ignore"):
                    numbers = np.where(present > 0, values / present, np.nan)
                    block = np.concatenate([numbers, marks / marks.max()], axis=1)

            for i, column in enumerate(block.T):
                columns.append(pl.Series(f"{name}_{i}", column).fill_nan(None))
        return columns

    def _newest_images(self, samples: Samples, rows: NDArray[np.int64]) -> list[str | None]:
        newest: list[str | None] = [None] * len(rows)
        for name in self.imaging:
            # Items come oldest first, so the newest stays.
            for owner, item in items_by_owner(samples, name, rows):
                if (name, item.where) not in self._unreadable:
                    newest[owner] = str(self.images.path(item))
        return newest

    @cached_property
    def _unreadable(self) -> set[tuple[str, str]]:
        return {(one["modality"], one["row"]) for one in self.ready.unreadable}

    def _only(self, modalities: Mapping[str, Modality]) -> FoldData:
        return replace(self.ready, modalities=dict(modalities))


def informative(rows: pl.DataFrame) -> list[str]:
    """Return the columns that tell some training rows from others."""
    return [column.name for column in rows if column.drop_nulls().n_unique() > 1]
