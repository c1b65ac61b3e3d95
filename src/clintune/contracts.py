"""The types that travel between stages.

Axes, named once:

    N  samples of a batch
    P  pieces of a batch (an image, a chunk of a note, a window of a signal, a fact)
    K  tokens that a piece gives
    M  tokens of a batch, all modalities together
    W  width of an encoder
    D  width of the backbone
    T  columns of a task's target
    O  outputs of a task's head
    P  of predictions: columns of a task's answer, as the probability of each class

Batches are ragged and flat: `owner` is the sample of each piece or token. A sample that lacks a
modality owns no piece of it, so nothing is padded or imputed before the backbone.
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
    """One row of a cohort that a modality selects.

    - `hours` before the prediction time: never negative, 0 for static rows.
    - `time` of the row: in UTC where the times of the cohort have a zone, else of its local clock;
      None for static rows.
    - `path` is the absolute path of a media file; `content` holds the bytes of a file instead.
    - `where` names file and row for error messages.
    - `number` is unique among all items of a modality.
    - `subject` is a running number, never an id: it tells apart the subjects that training reads.
    - `whole` asks for all of a file that goes on after the prediction time. Only later samples use
      the rest.
    """

    hours: float
    code: str
    where: str
    time: datetime | None = None
    value: float | None = None
    text: str | None = field(default=None, repr=False)
    path: Path | None = None
    content: bytes | None = field(default=None, repr=False)
    number: int = 0
    subject: int = 0
    whole: bool = False

    @property
    def until(self) -> datetime | None:
        """Return the prediction time, after which nothing may be read.

        None stands for no limit: for static rows and `whole` items.
        """
        return None if self.time is None or self.whole else self.time + timedelta(hours=self.hours)


class Extent(NamedTuple):
    """Begin and end of an item, in hours after the time of its row."""

    begin: float
    end: float


NO_EXTENT = Extent(0.0, 0.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Pieces:
    """The pieces of one item.

    `tensors` are each [P, ...], `hours` [P] float32 count back from the prediction time. Where a
    frozen encoder has read the tensors already, `encoded` [P, K, W] holds the tokens, and `tensors`
    is empty. `extent` is the begin and end of a file with a clock of its own. `left_out` is the
    number of further pieces of the item, which no sample reads because they exceed the budget.
    """

    tensors: Mapping[str, "Tensor"]
    hours: "Tensor"
    encoded: "Tensor | None" = None
    extent: Extent = NO_EXTENT
    left_out: int = 0

    def __post_init__(self) -> None:
        encoded = [] if self.encoded is None else [self.encoded]
        lengths = {len(self.hours), *(len(tensor) for tensor in [*self.tensors.values(), *encoded])}
        assert len(lengths) == 1, f"pieces disagree on their number: {lengths}"

    def __len__(self) -> int:
        return len(self.hours)


@dataclass(frozen=True, kw_only=True, slots=True)
class RowColumns:
    """Rows of a cohort as columns [R].

    The rows of an owner stand side by side, oldest first, and rows without a time before all
    others. `code` is the number of the code in a list that the reader knows. `value` is NaN where
    there is none. `hours` count back from the prediction time. `owner` is a sample of a batch,
    0..N-1, or the number of a subject where statistics are fitted.
    """

    code: "NDArray[np.int32]"
    value: "NDArray[np.float32]"
    hours: "NDArray[np.float64]"
    owner: "NDArray[np.int64]"

    def __len__(self) -> int:
        return len(self.code)

    def take(self, which: "NDArray[np.int64] | NDArray[np.bool_]") -> "RowColumns":
        """Return some of the rows."""
        return RowColumns(
            code=self.code[which],
            value=self.value[which],
            hours=self.hours[which],
            owner=self.owner[which],
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class PieceBatch:
    """The pieces of one modality in a batch.

    `tensors` are each [P, ...], `hours` [P] count back from the prediction time, `owner` [P] int64
    is the sample, 0..N-1. Where a frozen encoder has read the tensors already, `encoded` [P, K, W]
    holds the tokens, and `tensors` is empty.
    """

    tensors: Mapping[str, "Tensor"]
    hours: "Tensor"
    owner: "Tensor"
    encoded: "Tensor | None" = None

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

        torch's DataLoader calls it.
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
    """Samples ready for the model.

    `pieces[modality]` is absent where no sample has the modality. `targets[task]` is [N, T], NaN
    where unknown. `keys` are the keys of the samples.
    """

    pieces: Mapping[str, PieceBatch]
    targets: Mapping[str, "Tensor"]
    keys: list[str]

    def __len__(self) -> int:
        return len(self.keys)

    def to(self, device: "str | torch.device") -> "Batch":
        """Return the batch on another device."""
        targets = {
            name: target.to(device, non_blocking=True) for name, target in self.targets.items()
        }
        pieces = {name: part.to(device) for name, part in self.pieces.items()}
        return replace(self, pieces=pieces, targets=targets)

    def pin_memory(self) -> "Batch":
        """Return the batch in pinned memory, as `PieceBatch.pin_memory`."""
        pieces = {name: part.pin_memory() for name, part in self.pieces.items()}
        targets = {name: target.pin_memory() for name, target in self.targets.items()}
        return replace(self, pieces=pieces, targets=targets)

    def without(self, modalities: set[str]) -> "Batch":
        """Return the batch as if no sample had these modalities."""
        kept = {name: part for name, part in self.pieces.items() if name not in modalities}
        return replace(self, pieces=kept)


@dataclass(frozen=True, kw_only=True, slots=True)
class Tokens:
    """Tokens of one modality.

    `embeddings` are [M, W or D], `owner` [M] int64 is the sample, `hours` [M] float32 count back
    from the prediction time.
    """

    embeddings: "Tensor"
    owner: "Tensor"
    hours: "Tensor"

    @classmethod
    def of_pieces(cls, embeddings: "Tensor", pieces: PieceBatch) -> "Tokens":
        """Return the K tokens of each piece [P, K, W] with the owner and the hours of the piece."""
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
    """Predictions of one task, with their samples.

    `predicted` is [N, P], `targets` [N, T]. `cohort` [N] str and `subject_id` [N] int64 together
    name the subject. `fold` [N] int64 is 0 without folds.
    """

    cohort: "NDArray[np.str_]"
    subject_id: "NDArray[np.int64]"
    prediction_time: "list[datetime]"
    fold: "NDArray[np.int64]"
    targets: "NDArray[np.float32]"
    predicted: "NDArray[np.float32]"

    def __len__(self) -> int:
        return len(self.subject_id)
