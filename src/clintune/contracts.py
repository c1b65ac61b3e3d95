"""The types that travel between stages.

Axes, named once:

    N  samples of a batch
    P  pieces of a batch (an image, a chunk of a note, a window of a signal, a fact);
       of predictions: columns of a task's answer, as the probability of each class
    K  tokens that a piece gives
    M  tokens of a batch, all modalities together
    W  width of an encoder
    D  width of the backbone
    T  columns of a task's target
    O  outputs of a task's head

Batches are ragged and flat: `owner` says to which sample a piece or token belongs. A sample that
lacks a modality owns no piece of it, so nothing is padded or imputed before the backbone.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray
    from torch import Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One row of a cohort that a modality selects."""

    hours: float
    """Hours before the prediction time: never negative, 0 for static rows."""
    code: str
    where: str
    """File and row, for error messages."""
    time: datetime | None = None
    """Time of the row: in UTC if the cohort's times have a zone, else local; None if static."""
    value: float | None = None
    text: str | None = field(default=None, repr=False)
    path: Path | None = None
    """Absolute path of a media file."""
    content: bytes | None = field(default=None, repr=False)
    """Bytes of the media, in place of a file."""
    number: int = 0
    """Number of the item among all items of its modality."""
    subject: int = 0
    """Running number of the subject, never an id; it tells the subjects of training apart."""
    whole: bool = False
    """Whether to read what a file holds after the prediction time too, for later samples alone."""

    @property
    def until(self) -> datetime | None:
        """Return the prediction time, after which nothing may be read.

        It is None for static rows and `whole` items.
        """
        return None if self.time is None or self.whole else self.time + timedelta(hours=self.hours)


class Extent(NamedTuple):
    """When something begins and ends, in hours after the time of its row."""

    begin: float
    end: float


NO_EXTENT = Extent(0.0, 0.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Pieces:
    """The pieces that a modality makes of one item."""

    tensors: Mapping[str, "Tensor"]
    """Tensors, each [P, ...]; none if a frozen encoder has read them already."""
    hours: "Tensor"
    """Hours before the prediction time, [P] float32."""
    encoded: "Tensor | None" = None
    """Tokens of the pieces, [P, K, W], if a frozen encoder has read the tensors already."""
    extent: Extent = NO_EXTENT
    """When a file with a clock of its own begins and ends."""
    left_out: int = 0
    """How many more pieces the item has, which no sample reads: they are beyond its budget."""

    def __post_init__(self) -> None:
        encoded = [] if self.encoded is None else [self.encoded]
        lengths = {len(self.hours), *(len(tensor) for tensor in [*self.tensors.values(), *encoded])}
        assert len(lengths) == 1, f"pieces disagree on their number: {lengths}"

    def __len__(self) -> int:
        return len(self.hours)


@dataclass(frozen=True, kw_only=True, slots=True)
class RowColumns:
    """Rows of a cohort as columns [R].

    Rows of one owner stand side by side: first those without a time, then the others, oldest first.
    """

    code: "NDArray[np.int32]"
    """Number of each row's code in a list that its reader knows."""
    value: "NDArray[np.float32]"
    """Value of each row; NaN if there is none."""
    hours: "NDArray[np.float64]"
    """Hours before the prediction time."""
    owner: "NDArray[np.int64]"
    """Sample of a batch, 0..N-1; in training, the number of a subject."""

    def __len__(self) -> int:
        return len(self.code)

    def take(self, which: "NDArray[np.int64] | NDArray[np.bool_]") -> "RowColumns":
        """Return some of the rows, by number [R'] or by mask [R]."""
        return RowColumns(
            code=self.code[which],
            value=self.value[which],
            hours=self.hours[which],
            owner=self.owner[which],
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class PieceBatch:
    """The pieces of one modality in a batch."""

    tensors: Mapping[str, "Tensor"]
    """Tensors, each [P, ...]; none if a frozen encoder has read them already."""
    hours: "Tensor"
    """Hours before the prediction time, [P]."""
    owner: "Tensor"
    """Sample of each piece, [P] int64 in 0..N-1."""
    encoded: "Tensor | None" = None
    """Tokens of the pieces, [P, K, W], if a frozen encoder has read the tensors already."""

    def to(self, device: "str | torch.device") -> "PieceBatch":
        """Return the batch on another device."""
        tensors = {
            name: tensor.to(device, non_blocking=True) for name, tensor in self.tensors.items()
        }
        hours, owner = (tensor.to(device, non_blocking=True) for tensor in (self.hours, self.owner))
        encoded = None if self.encoded is None else self.encoded.to(device, non_blocking=True)
        return PieceBatch(tensors=tensors, hours=hours, owner=owner, encoded=encoded)

    def pin_memory(self) -> "PieceBatch":
        """Return the batch in pinned memory, from which copies to a GPU do not block.

        The loader of torch calls this.
        """
        tensors = {name: tensor.pin_memory() for name, tensor in self.tensors.items()}
        encoded = None if self.encoded is None else self.encoded.pin_memory()
        return PieceBatch(
            tensors=tensors,
            hours=self.hours.pin_memory(),
            owner=self.owner.pin_memory(),
            encoded=encoded,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """Samples ready for the model."""

    pieces: Mapping[str, PieceBatch]
    """Pieces by modality; a modality that no sample has is absent."""
    targets: Mapping[str, "Tensor"]
    """Targets by task, each [N, T], NaN if unknown."""
    keys: list[str]
    """Key of each sample, [N]."""

    def __len__(self) -> int:
        return len(self.keys)

    def to(self, device: "str | torch.device") -> "Batch":
        """Return the batch on another device."""
        return replace(
            self,
            pieces={name: pieces.to(device) for name, pieces in self.pieces.items()},
            targets={
                name: target.to(device, non_blocking=True) for name, target in self.targets.items()
            },
        )

    def pin_memory(self) -> "Batch":
        """Return the batch in pinned memory, as `PieceBatch.pin_memory` does."""
        return replace(
            self,
            pieces={name: pieces.pin_memory() for name, pieces in self.pieces.items()},
            targets={name: target.pin_memory() for name, target in self.targets.items()},
        )

    def without(self, modalities: set[str]) -> "Batch":
        """Return the batch as if nobody had these modalities."""
        return replace(
            self,
            pieces={name: pieces for name, pieces in self.pieces.items() if name not in modalities},
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Tokens:
    """Tokens of one modality."""

    embeddings: "Tensor"
    """Embeddings, [M, W or D]."""
    owner: "Tensor"
    """Sample of each token, [M] int64."""
    hours: "Tensor"
    """Hours before the prediction time, [M] float32."""

    @classmethod
    def of_pieces(cls, embeddings: "Tensor", pieces: PieceBatch) -> "Tokens":
        """Return the K tokens of each piece, [P, K, W], with the owner and hours of the piece."""
        num = embeddings.shape[1]
        owner, hours = pieces.owner.repeat_interleave(num), pieces.hours.repeat_interleave(num)
        return cls(embeddings=embeddings.flatten(0, 1), owner=owner, hours=hours)

    def __post_init__(self) -> None:
        assert self.embeddings.ndim == 2, f"tokens are [M, D], not {tuple(self.embeddings.shape)}"
        assert len(self.embeddings) == len(self.owner) == len(self.hours), (
            "tokens disagree on their number"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Predictions:
    """Predictions of one task, beside the samples to which they belong.

    `cohort` and `subject_id` together name a subject.
    """

    cohort: "NDArray[np.str_]"
    """Name of the cohort, [N]."""
    subject_id: "NDArray[np.int64]"
    """Id of the subject within the cohort, [N]."""
    prediction_time: "list[datetime]"
    fold: "NDArray[np.int64]"
    """Number of the fold, [N]; 0 without folds."""
    targets: "NDArray[np.float32]"
    """Targets, [N, T]."""
    predicted: "NDArray[np.float32]"
    """Answers, [N, P]."""

    def __len__(self) -> int:
        return len(self.subject_id)
