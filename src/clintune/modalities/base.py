"""What a modality is: which rows it claims, how an item becomes pieces, how pieces become tokens.

A modality lives in four steps, each a method: the constructor stores plain values; `fit` reads the training items
once and returns statistics; `build` loads weights and makes modules; then `prepare` (CPU, one item) and `encode`
(device, all pieces of a batch) run for every sample. `prepare` reads plain attributes, no modules: it also runs in
processes that hold no weights. Rows that are numbers go another way: a `RowReader` fits on columns and makes pieces
of all rows of a batch at once. An encoder that reads all pieces of a sample together overrides `forward`.
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
    """How many of something, of how many, are not as in training; `much` is the share above which it is told."""

    part: int
    whole: int
    much: float = 0.1


class Modality(nn.Module, ABC):
    """Base of every modality.

    `mode` says what trains in the encoder; `max_pieces` is the budget of pieces a sample, spent on the newest first;
    `views` is the number of augmented views (1: none) of which training draws one; `codes` are those a recipe lists, to
    read or to narrow what is read: each must be the code of some row. Set by `build`: `width` (W),
    `tokens_per_piece` (K) and `source` (JSON-able: the weights' origin and checksum). Raises ConfigError for less than
    one piece or view.
    """

    media_column: ClassVar[str | None] = None
    """The media column of the cohort's tables that names the file of an item, if the modality reads files."""

    takes_bytes: ClassVar[bool] = False
    """Whether an item may bring the bytes of its file, `Item.content`, in place of a path."""

    scaled: ClassVar[bool] = False
    """Whether the scale of an embedding's entries means something, as of standardised features; else rows are
    layer-normalised before they are projected or pooled."""

    timed: ClassVar[bool] = False
    """Whether files tell their own clock and are read up to the prediction time: `prepare` then tells their extent."""

    native: bool = False
    """True where the pieces are token ids of the backbone, which `token_ids` returns, and `encode` is never called."""

    piecewise: bool = True
    """Whether a piece's tokens depend on that piece alone, as `encode` has it; else `forward` reads whole samples."""

    rows: RowReader | None = None
    """How rows become pieces by columns; None where `prepare` makes them item by item, kept on disk."""

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
        """Return a boolean expression over MEDS columns that is true for the rows this modality reads."""

    @abstractmethod
    def build(self, statistics: Mapping[str, Any]) -> None:
        """Load weights and make modules; `statistics` is what `fit` returned, now or when the package was written."""

    @abstractmethod
    def prepare(self, item: Item, view: int = 0) -> Pieces:
        """Read and preprocess one item. View 0 is the plain one; any other is a fixed augmentation of it.

        Raises DataError naming `item.where` when the item cannot be read.
        """

    def encode(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """Encode pieces, each tensor [P, ...], to tokens [P, K, W]; a piece's tokens depend on that piece alone."""
        raise AssertionError(f"{type(self).__name__} has no encoder of single pieces")

    def forward(self, pieces: PieceBatch, num_samples: int) -> Tokens:
        """Encode the pieces of a batch to tokens in the encoder's width; a sample's depend on that sample alone."""
        return Tokens.of_pieces(self.encode(pieces.tensors), pieces)

    def token_ids(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """Return the backbone's token id of each piece [P], where pieces are `native`."""
        raise AssertionError(f"{type(self).__name__} has no native tokens")

    def num_tokens(self, pieces: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return how many tokens samples have at most [N] that have so many pieces before any budget [N]."""
        return np.minimum(pieces, self.max_pieces) * self.tokens_per_piece

    @classmethod
    @abstractmethod
    def fake(cls, folder: Path, n: int, seed: int) -> list[Item]:
        """Return `n` items as this modality would claim them, media files written under `folder`."""

    def files(self, path: Path) -> list[Path]:
        """Return the files that a media path stands for: itself, and what it names; features follow their content."""
        return [path]

    def fit(self, items: Iterable[Item]) -> dict[str, Any]:
        """Return JSON-able statistics of the training items; by default there are none to learn.

        They leave the house with a package: name or measure nothing that few subjects have (`Item.subject`).
        """
        return {}

    def remarks(self, statistics: Mapping[str, Any]) -> list[str]:
        """Return what people should know of `statistics`: what they hold back, what is doubtful of the items."""
        return []

    def is_blank(self, pieces: Pieces) -> bool:
        """Return whether next to nothing is to be seen in what `prepare` made of an item; by default nobody knows."""
        return False

    def strange(self, tensors: Mapping[str, Tensor]) -> dict[str, Strange]:
        """Return what of some pieces is not as in training, by the words that tell it after a share.

        Asked when a cohort is scored, of a modality that reads columns; by default nothing is.
        """
        return {}

    def without_weights(self) -> Self:
        """Return a copy without modules, which can `prepare` in another process."""
        light = copy(self)
        for part in ("_modules", "_parameters", "_buffers"):
            light.__dict__[part] = {}
        return light

    @property
    def cacheable(self) -> bool:
        """Whether tokens can be computed once: the encoder is frozen and there is something to encode."""
        return self.mode == "frozen" and self.piecewise and self.rows is None and not self.native

    def train(self, mode: bool = True) -> Self:
        """Switch to training, except what must not: a frozen encoder, and batch norms, which would mix the pieces."""
        super().train(mode)
        for module in self.modules():
            if self.mode == "frozen" or isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.training = False
        return self

    @property
    def num_facts(self) -> int:
        """Return F, the number of plain numbers that a linear probe can read of a sample beside any encoder."""
        return 0

    def facts(self, pieces: PieceBatch, num_samples: int) -> Tensor:
        """Return the plain numbers of samples [N, F]."""
        raise AssertionError(f"{type(self).__name__} has no facts")

    @property
    def probe_width(self) -> int:
        """Return the number of columns a linear probe reads: facts or pooled tokens, none of an encoder that trains."""
        return self.num_facts or (self.width if self.cacheable else 0)

    @property
    def probe_choices(self) -> list[list[int]]:
        """Return sets of those columns, of which a probe takes the one that does best in folds of the training rows."""
        return [list(range(self.probe_width))]

    def settings(self) -> dict[str, Any]:
        """Return what determines the tokens of a frozen encoder beside its weights; the key of the feature cache."""
        return {"class": type(self).__qualname__}


class RowModality(Modality):
    """A modality whose rows are read as columns by `reader`, a RowReader."""

    def __init__(self, reader: RowReader, *, mode: Mode) -> None:
        codes = None if reader.codes is None else list(reader.codes)
        super().__init__(mode=mode, max_pieces=reader.max_pieces, codes=codes)
        self.rows: RowReader = reader

    def row_filter(self) -> pl.Expr:
        """Claim the rows that the reader takes."""
        return self.rows.row_filter()

    def fit(self, items: Iterable[Item]) -> dict[str, Any]:
        """Return the reader's statistics of some items, which are all in memory."""
        listed = sorted(items, key=lambda item: item.subject)
        codes = sorted({item.code for item in listed})
        return self.rows.fit([to_columns(listed, codes, [item.subject for item in listed])], codes)

    def prepare(self, item: Item, view: int = 0) -> Pieces:
        """Return the pieces of one item, as of a sample that has no other."""
        pieces = self.rows.numbered([item.code]).preprocess_rows(
            to_columns([item], [item.code], [0])
        )
        return Pieces(tensors=pieces.tensors, hours=pieces.hours)


def load_encoder(
    mode: Mode,
    load: Callable[..., _Encoder],
    weights: ResolvedWeights | Mapping[str, Any],
    *options: Any,
) -> _Encoder:
    """Return `load(weights, *options)`, of whose parameters those of mode `full` train.

    A frozen encoder with weights of its own is loaded once a process and shared by all members: nothing changes it.
    """
    shared = mode == "frozen" and isinstance(weights, ResolvedWeights)
    encoder: _Encoder = _load_once(load, weights, *options) if shared else load(weights, *options)
    return encoder.requires_grad_(mode == "full")


@lru_cache(maxsize=8)
def _load_once(load: Callable[..., Any], *arguments: Any) -> Any:
    return load(*arguments)


def has_code(codes: Sequence[str]) -> pl.Expr:
    """Return an expression that is true for rows whose code is listed, or begins with a listed one that ends in `//`.

    An empty list matches nothing.
    """
    code = pl.col(DataSchema.code_name)
    prefixes = [code.str.starts_with(prefix) for prefix in codes if prefix.endswith("//")]
    return pl.any_horizontal(
        code.is_in([name for name in codes if not name.endswith("//")]), *prefixes
    )


def claimed(filled: pl.Expr, codes: Sequence[str] | None) -> pl.Expr:
    """Return an expression that is true for filled rows, of the listed codes where there is a list."""
    return filled if codes is None else filled & has_code(codes)


def collate_pieces(pieces: list[Pieces]) -> dict[str, Tensor]:
    """Stack the tensors of several items along P; ragged trailing axes are padded with zeros to the longest."""
    return {name: _stack([item.tensors[name] for item in pieces]) for name in pieces[0].tensors}


def _stack(tensors: list[Tensor]) -> Tensor:
    shape = [max(sizes) for sizes in zip(*(tensor.shape[1:] for tensor in tensors), strict=True)]
    if all(list(tensor.shape[1:]) == shape for tensor in tensors):
        return torch.cat(tensors)
    stacked = tensors[0].new_zeros(sum(map(len, tensors)), *shape)
    start = 0
    for tensor in tensors:
        region = (slice(start, start + len(tensor)), *(slice(size) for size in tensor.shape[1:]))
        stacked[region] = tensor
        start += len(tensor)
    return stacked
