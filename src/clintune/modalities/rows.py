"""Readers that turn rows into pieces by columns, without a loop over the rows."""

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from typing import Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray
from torch import Tensor

from clintune.contracts import Item, PieceBatch, RowColumns
from clintune.core.disclosure import SMALLEST_SHOWN
from clintune.core.errors import ConfigError
from clintune.modalities.readers import ItemReader, Reader

_MUCH_UNKNOWN = 0.5
"""Share of unknown codes that is reported, where training had rare codes as well."""


class Strange(NamedTuple):
    """A count of inputs that differ from training: `part` of `whole` differ.

    A share above `much` is reported.
    """

    part: int
    whole: int
    much: float = 0.1


class RowReader(Reader):
    """Base of readers that make the pieces of all rows of a batch at once.

    `min_subjects` says how many training subjects must have what statistics name or measure.

    Order of calls: `fit` on training rows returns statistics; `open` takes them; `numbered`
    returns a reader of rows whose codes are numbers of a list; that one may `preprocess_rows`.
    """

    keep: ClassVar[Literal["all", "newest_of_code"]] = "all"
    """Which rows of a sample the reader takes: all, or the newest row of each code."""

    def __init__(
        self,
        *,
        max_pieces: int,
        codes: Sequence[str] | None = None,
        min_subjects: int = SMALLEST_SHOWN,
    ) -> None:
        super().__init__(max_pieces=max_pieces, codes=codes)
        self.min_subjects = checked_floor(min_subjects)

    @abstractmethod
    def fit(self, chunks: Iterable[RowColumns], codes: Sequence[str]) -> dict[str, Any]:
        """Return JSON-able statistics of the training rows.

        Rows come in chunks, all rows of a subject in one chunk. A row's owner is its subject.
        `codes` says which code each number stands for. A published package holds the statistics:
        name or measure nothing that fewer than `min_subjects` subjects have.
        """

    @abstractmethod
    def preprocess_rows(self, rows: RowColumns) -> PieceBatch:
        """Return the pieces of all rows of some samples, within each sample's budget.

        The reader must be opened and numbered.
        """

    def num_pieces(self, rows: RowColumns, num_samples: int) -> NDArray[np.int64]:
        """Return how many pieces each sample would have without a budget [N].

        By default a row gives one. A reader that puts several rows into a piece, or makes several
        of a row, says so here: counts of what the budget leaves out rest on it. An estimate will do
        where the number is dear.
        """
        return np.bincount(rows.owner, minlength=num_samples)

    @property
    def makes_one_of_a_row(self) -> bool:
        """Return whether each row gives one piece: `num_pieces` is that of this class."""
        return type(self).num_pieces is RowReader.num_pieces

    def strange(self, tensors: Mapping[str, Tensor]) -> dict[str, Strange]:
        """Return what in some pieces differs from training; the keys continue a sentence.

        The sentence begins with the share of `Strange`. Scoring asks this; by default nothing
        differs.
        """
        return {}

    @abstractmethod
    def look_up(self, codes: Sequence[str]) -> None:
        """Store in arrays what the statistics know of each code."""

    def numbered(self, codes: Sequence[str]) -> Self:
        """Return an opened reader of rows whose codes are numbers of `codes`."""
        reader = copy(self)
        reader.look_up(codes)
        return reader

    def fit_items(self, items: Iterable[Item]) -> dict[str, Any]:
        """Return the statistics of items that are all in memory."""
        listed = sorted(items, key=lambda item: item.subject)
        codes = sorted({item.code for item in listed})
        return self.fit([to_columns(listed, codes, [item.subject for item in listed])], codes)

    def preprocess_items(self, items: Sequence[Item], owner: Sequence[int]) -> PieceBatch:
        """Return the pieces of items in memory; `owner` [R] says which sample has each."""
        codes = sorted({item.code for item in items})
        return self.numbered(codes).preprocess_rows(to_columns(items, codes, owner))


AnyReader = ItemReader | RowReader
"""A reader of either kind; each goes a way of its own through `features`."""


def strange_codes(what: str, unknown: int, total: int, *, rare: bool) -> dict[str, Strange]:
    """Return how many of `what`, as "facts", have codes that the model does not know.

    Where training had `rare` codes as well, these count as unknown. A share is then reported only
    above one half.
    """
    said = f"of the {what} have codes that the model does not know"
    if rare:
        return {f"{said}, or knows as rare": Strange(unknown, total, much=_MUCH_UNKNOWN)}
    return {said: Strange(unknown, total)}


def to_columns(items: Sequence[Item], codes: Sequence[str], owner: Sequence[int]) -> RowColumns:
    """Return items in their order as columns.

    A code's number is its place in `codes`; `owner` [R] says which sample or subject has each item.
    """
    number = {code: place for place, code in enumerate(codes)}
    values = np.array([np.nan if item.value is None else item.value for item in items], np.float64)
    with np.errstate(over="ignore"):  # a value too large for float32 is no measurement
        value = values.astype(np.float32)

    return RowColumns(
        code=np.array([number[item.code] for item in items], np.int32),
        value=value,
        hours=np.array([item.hours for item in items], np.float64),
        owner=np.array(owner, np.int64),
    )


def newest_rows(rows: RowColumns, budget: int) -> NDArray[np.bool_]:
    """Mark the rows [R] that are among the last `budget` rows of their owner."""
    after = np.searchsorted(rows.owner, rows.owner, "right")
    marks: NDArray[np.bool_] = after - np.arange(len(rows)) <= budget
    return marks


def num_subjects(
    group: NDArray[np.integer[Any]], subject: NDArray[np.int64], num_groups: int
) -> NDArray[np.int64]:
    """Return how many distinct subjects have a row [R] of each group [G]."""
    if not len(group):
        return np.zeros(num_groups, np.int64)
    pairs = pl.DataFrame({"group": group, "subject": subject}).unique()
    return np.bincount(pairs["group"].to_numpy(), minlength=num_groups)


def checked_floor(min_subjects: int) -> int:
    """Return `min_subjects`; raise ConfigError where it is below 1."""
    if min_subjects < 1:
        raise ConfigError(
            f"min_subjects is {min_subjects}; give 1 or more, "
            f"and {SMALLEST_SHOWN} or more for a release"
        )
    return min_subjects
