"""Which counts a report may show: none under 11, and none from which one under 11 follows."""

from collections.abc import Sequence

from clintune.core.disclosure import SMALLEST_SHOWN as SMALLEST_SHOWN

HIDDEN = f"<{SMALLEST_SHOWN}"


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


def shown_together(counts: Sequence[int]) -> list[str]:
    """Return counts whose sum is known elsewhere: a single small one takes the next smallest with it."""
    texts = [shown(count) for count in counts]
    if texts.count(HIDDEN) == 1 and len(texts) > 1:
        visible = [count for count in counts if count >= SMALLEST_SHOWN]
        texts[list(counts).index(min(visible))] = f"{SMALLEST_SHOWN} or more"
    return texts
