"""What a modality is: which rows it claims, how an item becomes pieces, how pieces become tokens.

A modality lives in four steps, each a method: the constructor stores plain values; `fit` reads the training items
once and returns statistics; `build` loads weights and makes modules; then `prepare` (CPU, one item) and `encode`
(device, all pieces of a batch) run for every sample. `prepare` reads plain attributes, no modules: it also runs in
processes that hold no weights.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, Self, TypeVar

import numpy as np
import polars as pl
import torch
from meds.schema import DataSchema
from numpy.typing import NDArray
from torch import Tensor, nn

from clintune.contracts import Item, Pieces
from clintune.core.disclosure import SMALLEST_SHOWN
from clintune.core.errors import ConfigError
from clintune.weights import ResolvedWeights

_Encoder = TypeVar("_Encoder", bound=nn.Module)
Mode = Literal["frozen", "lora", "full"]


class Table(Protocol):
    """How rows become pieces by arithmetic alone, one piece a row; it can be pickled."""

    def __call__(
        self, code: NDArray[np.int32], value: NDArray[np.floating[Any]], hours: NDArray[np.float64]
    ) -> dict[str, Tensor]:
        """Return the tensors of rows, each [P, ...]: codes by their number, NaN where a row has no value."""


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
    """True where the pieces are token ids of the backbone (tensor `ids` [P]) and `encode` is never called."""

    def __init__(self, *, mode: Mode, max_pieces: int, views: int = 1, codes: list[str] | None = None) -> None:
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
    def claims(self) -> pl.Expr:
        """Return a boolean expression over MEDS columns that is true for the rows this modality reads."""

    @abstractmethod
    def build(self, statistics: Mapping[str, Any]) -> None:
        """Load weights and make modules; `statistics` is what `fit` returned, now or when the package was written."""

    @abstractmethod
    def prepare(self, item: Item, view: int = 0) -> Pieces:
        """Read and preprocess one item. View 0 is the plain one; any other is a fixed augmentation of it.

        Raises DataError naming `item.where` when the item cannot be read.
        """

    @abstractmethod
    def encode(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """Encode pieces, each tensor [P, ...], to tokens [P, K, W]; a piece's tokens depend on that piece alone."""

    @classmethod
    @abstractmethod
    def fake(cls, folder: Path, n: int, seed: int) -> list[Item]:
        """Return `n` items as this modality would claim them, media files written under `folder`."""

    def fit(self, items: Iterable[Item]) -> dict[str, Any]:
        """Return JSON-able statistics of the training items; by default there are none to learn.

        They leave the house with a package: name or measure nothing that few subjects have (`Item.subject`).
        """
        return {}

    def remarks(self, statistics: Mapping[str, Any]) -> list[str]:
        """Return what people should know of `statistics`: what they hold back, what is doubtful of the items."""
        return []

    def tabulate(self, codes: Sequence[str]) -> "Table | None":
        """Return how rows with these codes become pieces, or None (the default) for what `prepare` does, kept on disk.

        With a table nothing is prepared or kept, and a sample reads only the newest row of each code.
        """
        return None

    def is_blank(self, pieces: Pieces) -> bool:
        """Return whether next to nothing is to be seen in what `prepare` made of an item; by default nobody knows."""
        return False

    def strange(self, tensors: Mapping[str, Tensor]) -> dict[str, Strange]:
        """Return what of some pieces is not as in training, by the words that tell it after a share.

        Asked when a cohort is scored, of a modality with a table; by default nothing is.
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
        return self.mode == "frozen" and not self.native

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

    def facts(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """Return the plain numbers of pieces as [P, F]; a sample's are the sum over its pieces."""
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


def checked_floor(min_subjects: int) -> int:
    """Return the number of training subjects that must have what statistics name; raise ConfigError below 1."""
    if min_subjects < 1:
        raise ConfigError(f"min_subjects is {min_subjects}; give 1 or more, and {SMALLEST_SHOWN} or more for a release")
    return min_subjects


def load_encoder(
    mode: Mode, load: Callable[..., _Encoder], weights: ResolvedWeights | Mapping[str, Any], *options: Any
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
    return pl.any_horizontal(code.is_in([name for name in codes if not name.endswith("//")]), *prefixes)


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
