"""What a run leaves out: pieces and tokens beyond a budget, older rows of a code, samples that lack a modality.

Written to `limits.json` of the run folder, with the sentences that people read; the report repeats them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from clintune.cohort.index import VisibleItems
from clintune.cohort.samples import Samples
from clintune.core.disclosure import in_percent, percent, rough_share
from clintune.core.errors import PackageError
from clintune.core.files import read_json, write_json
from clintune.core.numbers import is_finite
from clintune.features.cuts import Beyond
from clintune.modalities.base import Modality

FILE = "limits.json"
_CHUNK = 4096
_MONTH = 24 * 30


class Counted(Protocol):
    """What is needed of a source of pieces: which items a sample reads, and how many pieces each has."""

    def select(self, seen: VisibleItems) -> VisibleItems:
        """Return those of the items that a sample reads."""

    def lengths(self, number: NDArray[np.int64], view: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return how many pieces of items are kept [I]."""

    def left_out(self, number: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return how many pieces more items have, which no sample reads [I]."""

    def content(self, number: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return what is one for items of equal content [I]; -1 where nobody knows."""

    def beyond(self, seen: VisibleItems) -> Beyond:
        """Return how many hours items go on after the prediction times that see them, and how many they have [I]."""


@dataclass
class Part:
    """What the samples read of one modality: `budget` pieces each; counts of samples, items and pieces."""

    budget: int
    sums_up: bool = False
    """Whether what is beyond the budget is summed up."""
    samples: int = 0
    lacking: int = 0
    samples_with_older: int = 0
    """Samples with older rows of a code, of which the newest alone is read."""
    items: int = 0
    older: int = 0
    samples_cut: int = 0
    pieces: int = 0
    pieces_cut: int = 0
    samples_going_on: int = 0
    """Samples with a recording that goes on after their prediction time, where it is cut."""
    samples_long_before: int = 0
    """Samples with a recording that ends more than a month before the time of its row."""
    hours: float = 0.0
    hours_beyond: float = 0.0


@dataclass
class Limits:
    """What the samples read of each modality, and of all tokens together."""

    parts: dict[str, Part]
    max_tokens: int
    samples: int = 0
    without_anything: int = 0
    samples_cut: int = 0
    tokens: int = 0
    tokens_cut: int = 0
    drawn: bool = False
    """Whether these are some of the samples, drawn at random."""
    warnings: list[str] = field(default_factory=list)
    """What else the run's labels and data are suspect of, each a sentence."""

    def sentences(self) -> list[str]:
        """Return what is left out, each a sentence, and the warnings; no count under 11 follows from any of them."""
        said = []
        of = f"of {self.samples:,} samples drawn" if self.drawn else "of the samples"

        for name, part in self.parts.items():
            if part.lacking:
                said.append(f"{name}: {in_percent(part.lacking, part.samples)} {of} have none")
            if part.samples_with_older:
                said.append(
                    f"{name}: {in_percent(part.samples_with_older, part.samples)} {of} have older rows of a code, "
                    f"which are not read (the newest alone is): {percent(part.older, part.items)} of all rows"
                )
            if part.samples_cut:
                fate = (
                    "read their oldest pieces as one token"
                    if part.sums_up
                    else "lose their oldest pieces"
                )
                said.append(
                    f"{name}: {in_percent(part.samples_cut, part.samples)} {of} {fate} "
                    f"(max_pieces {part.budget}): {percent(part.pieces_cut, part.pieces)} of all pieces"
                )
            if part.samples_going_on:
                said.append(
                    f"{name}: {in_percent(part.samples_going_on, part.samples)} {of} have recordings that go on after "
                    f"the prediction time, and are cut there: {percent(part.hours_beyond, part.hours)} of all hours"
                )
            if part.samples_long_before:
                said.append(
                    f"{name}: {in_percent(part.samples_long_before, part.samples)} {of} have recordings that end more "
                    "than a month before the time of their row; look whether the clocks of the devices were right"
                )

        if self.samples_cut:
            said.append(
                f"all modalities: {in_percent(self.samples_cut, self.samples)} {of} lose their oldest tokens "
                f"(backbone.max_tokens {self.max_tokens}): {percent(self.tokens_cut, self.tokens)} of all tokens"
            )
        if self.without_anything:
            said.append(
                f"{in_percent(self.without_anything, self.samples)} {of} have nothing that can be read"
            )
        return [*said, *self.warnings]


def measure(
    samples: Samples,
    rows: NDArray[np.int64],
    modalities: Mapping[str, Modality],
    sources: Mapping[str, Counted],
    max_tokens: int,
) -> Limits:
    """Count what the samples `rows` have and what of it they read, in the plain view of each item."""
    parts = {
        name: Part(modality.max_pieces, sums_up=modality.rows is not None and modality.rows.sums_up)
        for name, modality in modalities.items()
    }
    limits = Limits(parts, max_tokens)
    for start in range(0, len(rows), _CHUNK):
        chunk = rows[start : start + _CHUNK]
        tokens = np.full(len(chunk), len(samples.tasks))
        anything = np.zeros(len(chunk), np.bool_)
        for name, part in parts.items():
            pieces = _count(part, samples, name, sources[name], chunk)
            tokens += modalities[name].num_tokens(pieces)
            anything |= pieces > 0

        over = np.maximum(tokens - max_tokens, 0)
        limits.samples += len(chunk)
        limits.without_anything += int((~anything).sum())
        limits.samples_cut += int((over > 0).sum())
        limits.tokens += int(tokens.sum())
        limits.tokens_cut += int(over.sum())
    return limits


def write_limits(run: Path, limits: Limits) -> bool:
    """Write them to a run folder that has none yet, as the first of its folds finds them; return whether it did."""
    if (run / FILE).exists():
        return False
    lacking = {name: rough_share(part.lacking, part.samples) for name, part in limits.parts.items()}
    write_json(run / FILE, {"sentences": limits.sentences(), "lacking": lacking})
    return True


def read_limits(run: Path) -> dict[str, Any]:
    """Return the `sentences` of a run, and the share of its samples that is `lacking` each modality.

    A share of fewer than 11 samples is 0, one of all but so few is 1. An older run has neither. Raises PackageError for
    a file that holds anything else: in a package a stranger wrote it.
    """
    path = run / FILE
    if not path.exists():
        return {"sentences": [], "lacking": {}}
    known = read_json(path)
    if not _is_known(known):
        raise PackageError(
            f"{path}: is not what clintune writes there; fetch the package, or train the run, again"
        )
    return {"sentences": known["sentences"], "lacking": known["lacking"]}


def _is_known(known: Any) -> bool:
    """Return whether something is the limits of a run: sentences, and a share for each modality."""
    if not isinstance(known, dict):
        return False
    sentences, lacking = known.get("sentences"), known.get("lacking")
    if not isinstance(sentences, list) or not isinstance(lacking, dict):
        return False
    shares = all(is_finite(share) and 0 <= share <= 1 for share in lacking.values())
    return shares and all(isinstance(sentence, str) for sentence in sentences)


def _count(
    part: Part, samples: Samples, name: str, source: Counted, rows: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Add to `part` what some samples have of a modality; return how many pieces each has [N]."""
    seen = samples.seen(name, rows)
    read = source.select(seen)
    lengths = source.lengths(read.number, np.zeros_like(read.number)).clip(min=0) + source.left_out(
        read.number
    )
    items, kept = (np.bincount(some.owner, minlength=len(rows)) for some in (seen, read))
    pieces = np.bincount(read.owner, lengths, minlength=len(rows)).astype(np.int64)
    over = np.maximum(pieces - part.budget, 0)
    beyond = source.beyond(seen)

    part.samples += len(rows)
    part.lacking += int((items == 0).sum())
    part.samples_with_older += int((items > kept).sum())
    part.items += len(seen.number)
    part.older += int((items - kept).sum())
    part.samples_cut += int((over > 0).sum())
    part.pieces += int(pieces.sum())
    part.pieces_cut += int(over.sum())
    part.samples_going_on += len(np.unique(seen.owner[beyond.after > 0]))
    part.samples_long_before += len(np.unique(seen.owner[beyond.end < -_MONTH]))
    part.hours += float(beyond.hours.sum())
    part.hours_beyond += float(beyond.after.sum())
    return pieces
