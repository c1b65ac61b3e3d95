"""Which counts a page may show: none under 11, and none from which one under 11 follows."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from clintune.core.disclosure import SMALLEST_SHOWN

HIDDEN = f"<{SMALLEST_SHOWN}"
FEW = f"group with fewer than {SMALLEST_SHOWN}"
"""What a group of so few subjects is called instead of its name."""


def shown(count: int | None) -> str:
    """Return a count as text, `<11` for a small one and a dash for none."""
    if count is None:
        return "–"
    return HIDDEN if count < SMALLEST_SHOWN else f"{count:,}"


def shown_part(part: int | None, whole: int) -> str:
    """Return a part of a shown whole: where the rest is small, the part would give it away."""
    if part is not None and part >= SMALLEST_SHOWN > whole - part:
        return "nearly all"
    return shown(part)


def shown_share(value: float | None, part: int, rest: int) -> str:
    """Return a share in percent, unless either side of it is of too few people."""
    if value is None or part < SMALLEST_SHOWN:
        return HIDDEN
    return "nearly all" if rest < SMALLEST_SHOWN else f"{value:.0%}"


def shown_together(counts: Sequence[int]) -> list[str]:
    """Return counts whose sum is known: a single small one takes the next smallest with it."""
    texts = [shown(count) for count in counts]
    if texts.count(HIDDEN) == 1 and len(texts) > 1:
        visible = [count for count in counts if count >= SMALLEST_SHOWN]
        texts[list(counts).index(min(visible))] = f"{SMALLEST_SHOWN} or more"
    return texts


def hide_small(counts: NDArray[np.int64]) -> list[list[str]]:
    """Return counts [R, C] as text; those under 11, and others that would reveal them, are hidden.

    The sums of rows and columns may be known, so none has a single hidden count. The first column
    that is shown gives way: with the training split first, held-out counts, which other tables show
    too, come last.
    """
    small = counts < SMALLEST_SHOWN
    hidden = small.copy()
    changed = True
    while changed:
        changed = False
        for line in (*hidden, *hidden.T):
            if line.sum() == 1 and len(line) > 1:
                line[line.argmin()] = changed = True

    texts = []
    for row in zip(counts, hidden, small, strict=True):
        texts.append([_cell(*cell) for cell in zip(*row, strict=True)])
    return texts


def _cell(count: int, hidden: bool, small: bool) -> str:
    return HIDDEN if small else f"{SMALLEST_SHOWN} or more" if hidden else f"{count:,}"
