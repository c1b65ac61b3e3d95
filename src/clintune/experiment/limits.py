"""Measure what a run leaves out: pieces and tokens beyond a budget, older rows of a code.

It also counts samples that lack a modality. The sentences that people read are written to
`limits.json` of the run folder; the report repeats them.
"""

from collections.abc import Iterator, Mapping
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
    """A source of pieces that tells which items a sample reads, and how many pieces each has."""

    def select(self, seen: VisibleItems) -> VisibleItems:
        """Return those of the visible items that a sample reads."""

    def lengths(self, number: NDArray[np.int64], view: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return how many pieces of each item are kept [I]; 0 of one that cannot be read."""

    def num_pieces(self, seen: VisibleItems, num_samples: int) -> NDArray[np.int64]:
        """Return how many pieces are kept of the items from `select` of each sample [N]."""

    def left_out(self, number: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return how many more pieces each item has, which no sample reads [I]."""

    def content(self, number: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return a number that items of equal content share [I]; -1 if it is unknown."""

    def beyond(self, seen: VisibleItems) -> Beyond:
        """Return the hours of each item, and those after the prediction time that sees it [I]."""


@dataclass
class Part:
    """What the samples read of one modality: counts of samples, items, pieces and hours."""

    budget: int
    """Most pieces that a sample reads."""
    sums_up: bool = False
    """Whether pieces beyond the budget are read as one token."""
    samples: int = 0
    lacking: int = 0
    """Samples that have no item."""
    samples_with_older: int = 0
    """Samples with older rows of a code, of which only the newest is read."""
    items: int = 0
    older: int = 0
    """Items that are older rows of a code."""
    samples_cut: int = 0
    """Samples with pieces beyond the budget."""
    pieces: int = 0
    pieces_cut: int = 0
    """Pieces beyond the budget."""
    samples_going_on: int = 0
    """Samples with a recording that goes on after their prediction time, and is cut there."""
    samples_long_before: int = 0
    """Samples with a recording that ends more than a month before the time of its row."""
    hours: float = 0.0
    hours_beyond: float = 0.0
    """Hours after the prediction time."""

    def sentences(self, name: str, of: str) -> Iterator[str]:
        """Yield a sentence for each thing that is left out of the modality `name`.

        `of` names all samples, as "of the samples".
        """
        if self.lacking:
            yield f"{name}: {in_percent(self.lacking, self.samples)} {of} have none"
        if self.samples_with_older:
            yield (
                f"{name}: {in_percent(self.samples_with_older, self.samples)} {of} have older "
                "rows of a code, which are not read (the newest alone is): "
                f"{percent(self.older, self.items)} of all rows"
            )
        if self.samples_cut:
            kept = "read their oldest pieces as one token"
            fate = kept if self.sums_up else "lose their oldest pieces"
            yield (
                f"{name}: {in_percent(self.samples_cut, self.samples)} {of} {fate} "
                f"(max_pieces {self.budget}): {percent(self.pieces_cut, self.pieces)} of all pieces"
            )

        # Recordings have clocks of their own.
        if self.samples_going_on:
            yield (
                f"{name}: {in_percent(self.samples_going_on, self.samples)} {of} have recordings "
                "that go on after the prediction time, and are cut there: "
                f"{percent(self.hours_beyond, self.hours)} of all hours"
            )
        if self.samples_long_before:
            yield (
                f"{name}: {in_percent(self.samples_long_before, self.samples)} {of} have "
                "recordings that end more than a month before the time of their row; "
                "look whether the clocks of the devices were right"
            )


@dataclass
class Limits:
    """What the samples read of each modality, and of the tokens of all modalities together."""

    parts: dict[str, Part]
    max_tokens: int
    samples: int = 0
    without_anything: int = 0
    samples_cut: int = 0
    tokens: int = 0
    tokens_cut: int = 0
    drawn: bool = False
    """Whether these are only some of the samples, drawn at random."""
    warnings: list[str] = field(default_factory=list)
    """Sentences on what else is suspect in the run's labels and data."""

    def sentences(self) -> list[str]:
        """Return a sentence for each thing that is left out, and the warnings.

        No count under 11 follows from any of them.
        """
        said: list[str] = []
        of = f"of {self.samples:,} samples drawn" if self.drawn else "of the samples"
        for name, part in self.parts.items():
            said += part.sentences(name, of)

        if self.samples_cut:
            said.append(
                f"all modalities: {in_percent(self.samples_cut, self.samples)} {of} lose their "
                f"oldest tokens (backbone.max_tokens {self.max_tokens}): "
                f"{percent(self.tokens_cut, self.tokens)} of all tokens"
            )
        if self.without_anything:
            lacking = in_percent(self.without_anything, self.samples)
            said.append(f"{lacking} {of} have nothing that can be read")
        return [*said, *self.warnings]


def measure(
    samples: Samples,
    rows: NDArray[np.int64],
    modalities: Mapping[str, Modality],
    sources: Mapping[str, Counted],
    max_tokens: int,
) -> Limits:
    """Count what the samples `rows` have, and what of it they read, in the plain view of items."""
    parts = {
        name: Part(modality.reader.max_pieces, sums_up=modality.reader.sums_up)
        for name, modality in modalities.items()
    }
    limits = Limits(parts, max_tokens)
    for start in range(0, len(rows), _CHUNK):
        chunk = rows[start : start + _CHUNK]

        # Count each modality; each task has a token, too.
        tokens = np.full(len(chunk), len(samples.tasks))
        anything = np.zeros(len(chunk), np.bool_)
        for name, part in parts.items():
            pieces = _count(part, samples, name, sources[name], chunk)
            tokens += modalities[name].num_tokens(pieces)
            anything |= pieces > 0

        # Count all tokens together.
        over = np.maximum(tokens - max_tokens, 0)
        limits.samples += len(chunk)
        limits.without_anything += int((~anything).sum())
        limits.samples_cut += int((over > 0).sum())
        limits.tokens += int(tokens.sum())
        limits.tokens_cut += int(over.sum())
    return limits


def write_limits(run: Path, limits: Limits) -> bool:
    """Write limits to a run folder that has none yet; return whether they were written.

    So the first fold of a run writes them.
    """
    if (run / FILE).exists():
        return False
    lacking = {name: rough_share(part.lacking, part.samples) for name, part in limits.parts.items()}
    write_json(run / FILE, {"sentences": limits.sentences(), "lacking": lacking})
    return True


def read_limits(run: Path) -> dict[str, Any]:
    """Return the `sentences` of a run, and by modality the share of samples `lacking` it.

    A share of fewer than 11 samples is 0; a share of all but fewer than 11 is 1. An older run has
    neither. Raises PackageError for a file that holds anything else: a stranger may have written
    that of a package.
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
    """Return whether a JSON value is the limits of a run: sentences, and a share by modality."""
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
    """Add to `part` what the samples `rows` have of a modality; return each sample's pieces [N]."""
    # Items and pieces of each sample.
    seen = samples.seen(name, rows)
    read = source.select(seen)
    items, kept = (np.bincount(some.owner, minlength=len(rows)) for some in (seen, read))
    left_out = np.bincount(read.owner, source.left_out(read.number), minlength=len(rows))
    pieces = source.num_pieces(read, len(rows)) + left_out.astype(np.int64)
    over = np.maximum(pieces - part.budget, 0)
    beyond = source.beyond(seen)

    # Sums over the samples.
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
