"""The base of readers: which rows of a cohort one reads, and what it makes of them.

A reader is plain and picklable, because it also runs in processes that hold no weights. An
`ItemReader` makes the pieces of one item at a time, as of an image; they are then kept on disk. A
`RowReader` (`clintune.modalities.rows`) makes the pieces of all rows of a batch at once.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import polars as pl
from meds.schema import DataSchema

from clintune.contracts import Item, Pieces
from clintune.core.errors import ConfigError
from clintune.modalities.arguments import KeepsArguments


class Reader(KeepsArguments, ABC):
    """Base of all readers.

    `max_pieces` is the budget of pieces per sample, spent on the newest first. `codes` are those
    that a recipe lists, to read or to narrow what is read; each must be the code of some row.
    Raises ConfigError for a budget of less than one piece.
    """

    media_column: ClassVar[str | None] = None
    """The column of the cohort's tables that names an item's media file; None without files."""

    takes_bytes: ClassVar[bool] = False
    """Whether an item may bring the bytes of its file, `Item.content`, in place of a path."""

    sums_up: ClassVar[bool] = False
    """Whether what is beyond a sample's budget is summed up in further pieces, not dropped."""

    views: int = 1
    """The number of views of an item (1: the plain one)."""

    def __init__(self, *, max_pieces: int, codes: Sequence[str] | None = None) -> None:
        if max_pieces < 1:
            raise ConfigError(f"max_pieces is {max_pieces}; give 1 or more")
        self.max_pieces = max_pieces
        self.codes = codes

    @abstractmethod
    def row_filter(self) -> pl.Expr:
        """Return a boolean expression over MEDS columns that is true for the rows to read."""

    def open(self, statistics: Mapping[str, Any]) -> None:
        """Take the statistics that `fit` returned, now or when the package was written."""

    def remarks(self, statistics: Mapping[str, Any]) -> list[str]:
        """Return what users should know of `statistics`: what is held back, what is doubtful."""
        return []

    @classmethod
    @abstractmethod
    def fake(cls, folder: Path, n: int, seed: int) -> list[Item]:
        """Return `n` made-up items that this reader takes; write media files under `folder`."""


class ItemReader(Reader):
    """Base of readers that make the pieces of one item at a time.

    `views` is the number of augmented views (1: none); training draws one of them. Raises
    ConfigError for less than one view.
    """

    timed: ClassVar[bool] = False
    """Whether files tell their own clock and are read up to the prediction time.

    `preprocess` then returns their extent.
    """

    def __init__(
        self, *, max_pieces: int, codes: Sequence[str] | None = None, views: int = 1
    ) -> None:
        super().__init__(max_pieces=max_pieces, codes=codes)
        if views < 1:
            raise ConfigError(f"views is {views}; give 1 or more")
        self.views = views

    @abstractmethod
    def preprocess(self, item: Item, view: int = 0) -> Pieces:
        """Read and preprocess one item.

        View 0 is the plain item; any other view is a fixed augmentation of it. Raises DataError
        naming `item.where` when the item cannot be read.
        """

    def files(self, path: Path) -> list[Path]:
        """Return the files that a media path stands for: itself, and the files that it names.

        Cached features follow the content of all of them.
        """
        return [path]

    def fit(self, items: Iterable[Item]) -> dict[str, Any]:
        """Return JSON-able statistics of the training items; by default there are none.

        A published package holds them: name or measure nothing that few subjects have
        (`Item.subject`).
        """
        return {}

    def encoder_needs(self) -> dict[str, Any]:
        """Return, JSON-able, what `build` told the reader of the encoder; by default nothing."""
        return {}

    def is_blank(self, pieces: Pieces) -> bool:
        """Return whether the pieces of an item show next to nothing; by default False."""
        return False


def has_code(codes: Sequence[str]) -> pl.Expr:
    """Return an expression that is true for rows of the listed codes.

    A listed code that ends in `//` stands for all codes that begin with it. An empty list matches
    nothing.
    """
    code = pl.col(DataSchema.code_name)
    names = [name for name in codes if not name.endswith("//")]
    prefixes = [code.str.starts_with(prefix) for prefix in codes if prefix.endswith("//")]
    return pl.any_horizontal(code.is_in(names), *prefixes)


def claimed(filled: pl.Expr, codes: Sequence[str] | None) -> pl.Expr:
    """Return an expression that is true for filled rows, of `codes` alone unless it is None."""
    return filled if codes is None else filled & has_code(codes)
