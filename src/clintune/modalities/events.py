"""Events: a stream of codes with values and times, a token per event or per bin of time."""

from collections.abc import Mapping
from math import sqrt
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from clintune.contracts import PieceBatch, Tokens
from clintune.core.disclosure import SMALLEST_SHOWN
from clintune.core.errors import ConfigError
from clintune.modalities.base import Modality, Mode
from clintune.modalities.code_texts import WIDTH
from clintune.modalities.event_encoders import Course, EventEncoder
from clintune.modalities.event_reader import EventReader
from clintune.modalities.event_statistics import prefixes_of
from clintune.modalities.event_summary import PER_CODE, summarise

_MOST_PIECES = 4096


class Events(Modality):
    """Events, each a token that embeds its code, value and time; with `bin_hours`, a token per bin.

    It reads rows with a time and without text, except the birth, of `codes` where there is a list.
    A value becomes a normal score by the training subjects' values of its code. A code that fewer
    than `min_subjects` training subjects have, or none, is read as its longest prefix (before a
    `//`) that so many have, without its value.

    The newest `max_pieces` events are read one by one, in bins the newest `max_bins` bins of them;
    all older events are one token. `course` reads the tokens of a sample in their order: `none`, a
    `gru` or a `transformer` of `depth` layers. With `code_text`, MiniLM embeds the words of a code
    too, so that another hospital's codes mean something. A probe reads summary columns of each
    code. Raises ConfigError for a number out of its range.
    """

    reader: EventReader
    scaled = False
    piecewise = False

    def __init__(
        self,
        *,
        codes: list[str] | None = None,
        min_subjects: int = SMALLEST_SHOWN,
        bin_hours: float | None = None,
        max_bins: int = 96,
        course: Course = "none",
        depth: int = 1,
        code_text: bool = False,
        width: int = 64,
        mode: Mode = "full",
        max_pieces: int = 511,
    ) -> None:
        reader = EventReader(
            codes=codes, min_subjects=min_subjects, max_pieces=max_pieces, code_text=code_text
        )
        super().__init__(reader, mode=mode)
        _check(course, depth, max_pieces, bin_hours, max_bins)
        self.bin_hours = bin_hours
        self.max_bins = max_bins
        self.course: Course = course
        self.depth = depth
        self.width = width

    def build(self, statistics: Mapping[str, Any]) -> None:
        """Make the encoder of the known codes and prefixes."""
        self.reader.open(statistics)
        moments = [known["count"] for known in self.reader.known.values()]
        self.register_buffer("count", torch.tensor(moments).view(-1, 2), persistent=False)

        self.encoder: nn.Module = EventEncoder(
            self._ancestors(),
            width=self.width,
            course=self.course,
            depth=self.depth,
            bin_hours=self.bin_hours,
            max_bins=self.max_bins,
            text_width=WIDTH if self.reader.code_text else 0,
        )
        self.encoder.requires_grad_(self.mode == "full")

    def forward(self, pieces: PieceBatch, num_samples: int) -> Tokens:
        """Encode the events of a batch to tokens."""
        tokens: Tokens = self.encoder(pieces, num_samples)
        return tokens

    def num_tokens(self, pieces: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the most tokens a sample can have [N], the one of older events included."""
        most = (
            self.reader.max_pieces
            if self.bin_hours is None
            else min(self.max_bins, self.reader.max_pieces)
        )
        return np.minimum(pieces, most + 1)

    @property
    def num_facts(self) -> int:
        """Return the number of summary columns."""
        return len(PER_CODE) * len(self.reader.known)

    def facts(self, pieces: PieceBatch, num_samples: int) -> Tensor:
        """Return the summary columns [N, F]; a sample's row is about one in length."""
        columns = summarise(pieces, num_samples, self.get_buffer("count"))
        return columns / sqrt(max(1, self.num_facts))

    def _ancestors(self) -> list[list[int]]:
        """Return, for each number, itself and the numbers of its known prefixes, padded with 0."""
        place = self.reader.place
        found = [[0]]
        for name in self.reader.names:
            prefixes = [place[prefix] for prefix in prefixes_of(name) if prefix in place]
            found.append([place[name], *prefixes])
        depth = max(map(len, found))
        return [numbers + [0] * (depth - len(numbers)) for numbers in found]


def _check(
    course: str, depth: int, max_pieces: int, bin_hours: float | None, max_bins: int
) -> None:
    """Raise ConfigError that lists all settings out of range, in one line."""
    problems = []

    # What reads the tokens.
    if course not in ("none", "gru", "transformer"):
        problems.append(f"course '{course}' does not exist: use none, gru or transformer")
    if depth < 1:
        problems.append(f"depth is {depth}: give 1 layer or more")

    # How many tokens there are.
    if bin_hours is None and max_pieces > _MOST_PIECES:
        problems.append(
            f"max_pieces is {max_pieces}, a token each: give {_MOST_PIECES} or less, or bin_hours"
        )
    if bin_hours is not None and not 0 < bin_hours < float("inf"):
        problems.append(
            f"bin_hours is {bin_hours}: give hours above 0, or null for a token an event"
        )
    if not 1 <= max_bins <= _MOST_PIECES:
        problems.append(f"max_bins is {max_bins}: give 1 to {_MOST_PIECES}")

    if problems:
        raise ConfigError("; ".join(problems))
