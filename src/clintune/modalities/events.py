"""Events: a stream of codes with values and times, a token per event or per bin of time."""

import random
from collections.abc import Mapping
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from clintune.contracts import Item, PieceBatch, Tokens
from clintune.core.disclosure import SMALLEST_SHOWN
from clintune.core.errors import ConfigError
from clintune.core.seeding import derive_seed
from clintune.modalities.base import Mode, RowModality, Strange
from clintune.modalities.code_texts import WIDTH
from clintune.modalities.event_encoders import Course, EventEncoder
from clintune.modalities.event_reader import CLIP, EventReader
from clintune.modalities.event_statistics import prefixes_of
from clintune.modalities.event_summary import PER_CODE, summarise

_MUCH_UNKNOWN = 0.5
"""Share of events with unknown codes that is reported, where training had rare codes as well."""
_MOST_PIECES = 4096
_FAKE_CODES = [("LAB//LACTATE//mmol/L", 1.5), ("VITAL//HR", 80.0), ("DRUG//HEPARIN", None)]
"""Made-up codes, each with the mean of its values."""


class Events(RowModality):
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

    rows: EventReader
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

    def remarks(self, statistics: Mapping[str, Any]) -> list[str]:
        """Return how many codes are read as their prefixes."""
        number = statistics.get("num_rare", 0)
        if not number:
            return []
        few = f"fewer than {statistics['min_subjects']} training subjects"
        codes = f"{number} of {number + len(statistics['codes'])} codes"
        return [f"{codes} have {few} and are read as their beginnings, without values"]

    def build(self, statistics: Mapping[str, Any]) -> None:
        """Make the encoder of the known codes and prefixes."""
        self.rows.open(statistics)
        self.shared: bool = statistics.get("num_rare", 0) > 0
        moments = [known["count"] for known in self.rows.known.values()]
        self.register_buffer("count", torch.tensor(moments).view(-1, 2), persistent=False)

        self.encoder: nn.Module = EventEncoder(
            self._ancestors(),
            width=self.width,
            course=self.course,
            depth=self.depth,
            bin_hours=self.bin_hours,
            max_bins=self.max_bins,
            text_width=WIDTH if self.rows.code_text else 0,
        )
        self.encoder.requires_grad_(self.mode == "full")

    def forward(self, pieces: PieceBatch, num_samples: int) -> Tokens:
        """Encode the events of a batch to tokens."""
        tokens: Tokens = self.encoder(pieces, num_samples)
        return tokens

    def num_tokens(self, pieces: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the most tokens a sample can have [N], the one of older events included."""
        most = self.max_pieces if self.bin_hours is None else min(self.max_bins, self.max_pieces)
        return np.minimum(pieces, most + 1)

    @property
    def num_facts(self) -> int:
        """Return the number of summary columns."""
        return len(PER_CODE) * len(self.rows.known)

    def facts(self, pieces: PieceBatch, num_samples: int) -> Tensor:
        """Return the summary columns [N, F]; a sample's row is about one in length."""
        columns = summarise(pieces, num_samples, self.get_buffer("count"))
        return columns / sqrt(max(1, self.num_facts))

    def strange(self, tensors: Mapping[str, Tensor]) -> dict[str, Strange]:
        """Return how many events have unknown codes, and how many values are clipped."""
        # Events with unknown codes.
        count = tensors["count"]
        known = (tensors["code"] > 0) & (tensors["code"] <= len(self.rows.known))
        much = _MUCH_UNKNOWN if self.shared else 0.1
        codes = Strange(int(count[~known].sum()), int(count.sum()), much=much)
        not_known = "of the events have codes that the model does not know"
        not_known = f"{not_known}, or knows as rare" if self.shared else not_known

        # Clipped values.
        score, valued = tensors["facts"][:, 0], count * tensors["facts"][:, 1]
        values = Strange(int(valued[score.abs() >= CLIP].sum()), int(valued.sum()))
        far = f"of the values of events lie {CLIP:.0f} or more deviations from training"
        return {not_known: codes, f"{far}; look whether units are the same": values}

    @classmethod
    def fake(cls, folder: Path, n: int, seed: int) -> list[Item]:
        """Return measurements and drugs."""
        draw = random.Random(derive_seed(seed, "fake events"))
        items = []
        for row in range(n):
            code, mean = draw.choice(_FAKE_CODES)
            value = None if mean is None else draw.gauss(mean, mean / 5)
            hours = round(draw.uniform(0, 48), 2)
            where = f"fake.parquet row {row}"
            items.append(Item(hours=hours, code=code, where=where, value=value, subject=row))
        return items

    def _ancestors(self) -> list[list[int]]:
        """Return, for each number, itself and the numbers of its known prefixes, padded with 0."""
        place = self.rows.place
        found = [[0]]
        for name in self.rows.names:
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
