"""The base of modalities: a reader makes pieces of a cohort's rows, an encoder tokens of pieces.

Order of steps:

1. The constructor stores plain values and makes the reader.
2. The reader's `fit` reads the training items or rows once and returns statistics.
3. `build` opens the reader with them, loads weights and makes modules.
4. The reader preprocesses (CPU, also in processes without weights), and `encode` (device, all
   pieces of a batch) makes tokens, for every sample.

An encoder that reads all pieces of a sample together overrides `forward`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, ClassVar, Literal, Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from clintune.contracts import PieceBatch, Pieces, Tokens
from clintune.modalities.arguments import KeepsArguments
from clintune.modalities.promises import check_encoded
from clintune.modalities.readers import ItemReader
from clintune.modalities.rows import AnyReader
from clintune.weights import ResolvedWeights

_Encoder = TypeVar("_Encoder", bound=nn.Module)
Mode = Literal["frozen", "lora", "full"]


class Modality(KeepsArguments, nn.Module, ABC):
    """Base of every modality: a reader, and an encoder of what it reads.

    `mode` says what trains in the encoder. The arguments of the constructor, plain values, are the
    keys of its config.

    `build` sets `width` (W), `tokens_per_piece` (K) and `origin` (JSON-able: the source and the
    checksum of the weights).
    """

    scaled: ClassVar[bool] = False
    """Whether the scale of an embedding's entries has a meaning, as in standardised features.

    Otherwise rows are layer-normalised before they are projected or pooled.
    """

    native: bool = False
    """Whether pieces are token ids of the backbone.

    `token_ids` then returns them, and nobody calls `encode`.
    """

    piecewise: bool = True
    """Whether a piece's tokens depend on that piece alone, as in `encode`.

    Otherwise `forward` reads whole samples.
    """

    def __init__(self, reader: AnyReader, *, mode: Mode) -> None:
        super().__init__()
        self.reader: AnyReader = reader
        self.mode: Mode = mode
        self.width = 0
        self.tokens_per_piece = 1
        self.origin: dict[str, Any] = {}

    @abstractmethod
    def build(self, statistics: Mapping[str, Any]) -> None:
        """Open the reader, load weights and make modules.

        `statistics` is what the reader's `fit` returned, now or when the package was written.
        """

    def encode(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """Encode pieces, each tensor [P, ...], to tokens [P, K, W].

        A piece's tokens depend on that piece alone.
        """
        raise AssertionError(f"{type(self).__name__} has no encoder of single pieces")

    def forward(self, pieces: PieceBatch, num_samples: int) -> Tokens:
        """Encode the pieces of a batch to tokens [M, W]; a sample's depend on that sample alone."""
        encoded = self.encode(pieces.tensors)
        check_encoded(self, encoded, len(pieces.hours), self.token_shape)
        return Tokens.of_pieces(encoded, pieces)

    def token_ids(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """Return the backbone's token id of each piece [P], where pieces are `native`."""
        raise AssertionError(f"{type(self).__name__} has no native tokens")

    def num_tokens(self, pieces: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the most tokens a sample can have [N], given its pieces before any budget [N]."""
        return np.minimum(pieces, self.reader.max_pieces) * self.tokens_per_piece

    @property
    def token_shape(self) -> tuple[int, int]:
        """Return K and W, the shape of the tokens of a piece."""
        return self.tokens_per_piece, self.width

    @property
    def cacheable(self) -> bool:
        """Whether tokens can be computed once: the encoder is frozen and reads single pieces."""
        by_item = isinstance(self.reader, ItemReader)
        return by_item and self.mode == "frozen" and self.piecewise and not self.native

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


def item_reader(modality: Modality) -> ItemReader:
    """Return the reader of a modality that reads item by item."""
    assert isinstance(modality.reader, ItemReader), "rows are read by columns, not item by item"
    return modality.reader


def readers_of(modalities: Mapping[str, Modality]) -> dict[str, AnyReader]:
    """Return the reader of each modality."""
    return {name: modality.reader for name, modality in modalities.items()}


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
