"""The base of modalities: which rows one reads, how items become pieces, how pieces become tokens.

A modality has four steps, each a method:

1. The constructor stores plain values.
2. `fit` reads the training items once and returns statistics.
3. `build` loads weights and makes modules.
4. `preprocess` (CPU, one item) and `encode` (device, all pieces of a batch) run for every sample.

`preprocess` reads plain attributes and no modules, because it also runs in processes that hold no
weights. Rows that are numbers go another way: a `RowReader` fits on columns and makes the pieces
of all rows of a batch at once. An encoder that reads all pieces of a sample together overrides
`forward`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Self, TypeVar

import numpy as np
import polars as pl
import torch
from meds.schema import DataSchema
from numpy.typing import NDArray
from torch import Tensor, nn

from clintune.contracts import Item, PieceBatch, Pieces, Tokens
from clintune.core.errors import ConfigError
from clintune.modalities.rows import RowReader, to_columns
from clintune.weights import ResolvedWeights

_Encoder = TypeVar("_Encoder", bound=nn.Module)
Mode = Literal["frozen", "lora", "full"]


class Strange(NamedTuple):
    """A count of inputs that differ from training: `part` of `whole` differ.

    A share above `much` is reported.
    """

    part: int
    whole: int
    much: float = 0.1


class Modality(nn.Module, ABC):
    """Base of every modality.

    `mode` says what trains in the encoder. `max_pieces` is the budget of pieces per sample, spent
    on the newest first. `views` is the number of augmented views (1: none); training draws one of
    them. `codes` are those that a recipe lists, to read or to narrow what is read; each must be
    the code of some row.

    `build` sets `width` (W), `tokens_per_piece` (K) and `source` (JSON-able: the origin and the
    checksum of the weights). Raises ConfigError for less than one piece or view.
    """

    media_column: ClassVar[str | None] = None
    """The column of the cohort's tables that names an item's media file; None without files."""

    takes_bytes: ClassVar[bool] = False
    """Whether an item may bring the bytes of its file, `Item.content`, in place of a path."""

    scaled: ClassVar[bool] = False
    """Whether the scale of an embedding's entries has a meaning, as in standardised features.

    Otherwise rows are layer-normalised before they are projected or pooled.
    """

    timed: ClassVar[bool] = False
    """Whether files tell their own clock and are read up to the prediction time.

    `preprocess` then returns their extent.
    """

    native: bool = False
    """Whether pieces are token ids of the backbone.

    `token_ids` then returns them, and nobody calls `encode`.
    """

    piecewise: bool = True
    """Whether a piece's tokens depend on that piece alone, as in `encode`.

    Otherwise `forward` reads whole samples.
    """

    rows: RowReader | None = None
    """The reader that makes pieces by columns.

    None where `preprocess` makes them item by item; they are then kept on disk.
    """

    def __init__(
        self, *, mode: Mode, max_pieces: int, views: int = 1, codes: list[str] | None = None
    ) -> None:
        super().__init__()
        if max_pieces < 1 or views < 1:
            raise ConfigError(f"max_pieces is {max_pieces} and views {views}; give 1 or more")
        self.mode: Mode = mode
        self.max_pieces = max_pieces
        self.views = views
        self.codes = codes
        self.width = 0
        self.tokens_per_piece = 1
        self.source: dict[str, Any] = {}

    @abstractmethod
    def row_filter(self) -> pl.Expr:
        """Return a boolean expression over MEDS columns that is true for the rows to read."""

    @abstractmethod
    def build(self, statistics: Mapping[str, Any]) -> None:
        """Load weights and make modules.

        `statistics` is what `fit` returned, now or when the package was written.
        """

    @abstractmethod
    def preprocess(self, item: Item, view: int = 0) -> Pieces:
        """Read and preprocess one item.

        View 0 is the plain item; any other view is a fixed augmentation of it. Raises DataError
        naming `item.where` when the item cannot be read.
        """

    def encode(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """Encode pieces, each tensor [P, ...], to tokens [P, K, W].

        A piece's tokens depend on that piece alone.
        """
        raise AssertionError(f"{type(self).__name__} has no encoder of single pieces")

    def forward(self, pieces: PieceBatch, num_samples: int) -> Tokens:
        """Encode the pieces of a batch to tokens [M, W]; a sample's depend on that sample alone."""
        return Tokens.of_pieces(self.encode(pieces.tensors), pieces)

    def token_ids(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """Return the backbone's token id of each piece [P], where pieces are `native`."""
        raise AssertionError(f"{type(self).__name__} has no native tokens")

    def num_tokens(self, pieces: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the most tokens a sample can have [N], given its pieces before any budget [N]."""
        return np.minimum(pieces, self.max_pieces) * self.tokens_per_piece

    @classmethod
    @abstractmethod
    def fake(cls, folder: Path, n: int, seed: int) -> list[Item]:
        """Return `n` items that this modality would read; write media files under `folder`."""

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

    def remarks(self, statistics: Mapping[str, Any]) -> list[str]:
        """Return what users should know of `statistics`: what is held back, what is doubtful."""
        return []

    def is_blank(self, pieces: Pieces) -> bool:
        """Return whether the pieces of an item show next to nothing; by default False."""
        return False

    def strange(self, tensors: Mapping[str, Tensor]) -> dict[str, Strange]:
        """Return what in some pieces differs from training; the keys continue a sentence.

        The sentence begins with the share of `Strange`. Scoring asks this of a modality that
        reads columns; by default nothing differs.
        """
        return {}

    def without_weights(self) -> Self:
        """Return a copy without modules, which can `preprocess` in another process."""
        light = copy(self)
        for part in ("_modules", "_parameters", "_buffers"):
            light.__dict__[part] = {}
        return light

    @property
    def cacheable(self) -> bool:
        """Whether tokens can be computed once: the encoder is frozen and reads single pieces."""
        return self.mode == "frozen" and self.piecewise and self.rows is None and not self.native

    def train(self, mode: bool = True) -> Self:
        """Switch to training mode, except a frozen encoder and batch norms.

        A batch norm in training mode would mix the pieces.
        """
        super().train(mode)
        for module in self.modules():
            if self.mode == "frozen" or isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.training = False
        return self

    @property
    def num_facts(self) -> int:
        """Return F, how many plain numbers of a sample a linear probe reads beside any encoder."""
        return 0

    def facts(self, pieces: PieceBatch, num_samples: int) -> Tensor:
        """Return the plain numbers of each sample [N, F]."""
        raise AssertionError(f"{type(self).__name__} has no facts")

    @property
    def probe_width(self) -> int:
        """Return the number of columns that a linear probe reads.

        They are the plain numbers or the pooled tokens; there are none if the encoder trains.
        """
        return self.num_facts or (self.width if self.cacheable else 0)

    @property
    def probe_choices(self) -> list[list[int]]:
        """Return sets of those columns; a probe takes the best by folds of the training rows."""
        return [list(range(self.probe_width))]

    def settings(self) -> dict[str, Any]:
        """Return what determines a frozen encoder's tokens beside its weights.

        It is part of the key of the feature cache.
        """
        return {"class": type(self).__qualname__}


class RowModality(Modality):
    """A modality whose rows a RowReader reads as columns."""

    def __init__(self, reader: RowReader, *, mode: Mode) -> None:
        codes = None if reader.codes is None else list(reader.codes)
        super().__init__(mode=mode, max_pieces=reader.max_pieces, codes=codes)
        self.rows: RowReader = reader

    def row_filter(self) -> pl.Expr:
        """Select the rows that the reader takes."""
        return self.rows.row_filter()

    def fit(self, items: Iterable[Item]) -> dict[str, Any]:
        """Return the reader's statistics of items that are all in memory."""
        listed = sorted(items, key=lambda item: item.subject)
        codes = sorted({item.code for item in listed})
        return self.rows.fit([to_columns(listed, codes, [item.subject for item in listed])], codes)

    def preprocess(self, item: Item, view: int = 0) -> Pieces:
        """Return the pieces of one item, as if its sample had no other."""
        columns = to_columns([item], [item.code], [0])
        pieces = self.rows.numbered([item.code]).preprocess_rows(columns)
        return Pieces(tensors=pieces.tensors, hours=pieces.hours)


def load_encoder(
    mode: Mode,
    load: Callable[..., _Encoder],
    weights: ResolvedWeights | Mapping[str, Any],
    *options: Any,
) -> _Encoder:
    """Return `load(weights, *options)`; its parameters train in mode `full` alone.

    A process loads a frozen encoder with stored weights once, and all members of an ensemble
    share it, because nothing changes it.
    """
    shared = mode == "frozen" and isinstance(weights, ResolvedWeights)
    encoder: _Encoder = _load_once(load, weights, *options) if shared else load(weights, *options)
    return encoder.requires_grad_(mode == "full")


@lru_cache(maxsize=8)
def _load_once(load: Callable[..., Any], *arguments: Any) -> Any:
    return load(*arguments)


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


def collate_pieces(pieces: list[Pieces]) -> dict[str, Tensor]:
    """Stack the tensors of several items along P; pad ragged trailing axes with zeros."""
    return {name: _stack(pieces, name) for name in pieces[0].tensors}


def _stack(pieces: list[Pieces], name: str) -> Tensor:
    tensors = [item.tensors[name] for item in pieces]
    shapes = [tensor.shape[1:] for tensor in tensors]
    shape = [max(sizes) for sizes in zip(*shapes, strict=True)]
    if all(list(own) == shape for own in shapes):
        return torch.cat(tensors)

    stacked = tensors[0].new_zeros(sum(map(len, tensors)), *shape)
    start = 0
    for tensor in tensors:
        region = (slice(start, start + len(tensor)), *(slice(size) for size in tensor.shape[1:]))
        stacked[region] = tensor
        start += len(tensor)
    return stacked
