"""The floor of small cells: what fewer subjects than this have tells of single patients, and is held back."""

from collections import defaultdict
from collections.abc import Iterable

SMALLEST_SHOWN = 11
"""Subjects that must share something before it is shown, standardised by, or leaves the house."""


def rough_share(part: int, whole: int) -> float:
    """Return a part of some people as a share, 0 or 1 where it, or the rest, is too small to be told."""
    if part < SMALLEST_SHOWN:
        return 0.0
    return 1.0 if whole - part < SMALLEST_SHOWN else part / whole


def in_percent(part: int, whole: int) -> str:
    """Return a part of some people in percent, unless it, or the rest, is too small to be told."""
    if part < SMALLEST_SHOWN:
        return f"fewer than {SMALLEST_SHOWN}"
    return "nearly all" if 0 < whole - part < SMALLEST_SHOWN else percent(part, whole)


def percent(part: float, whole: float) -> str:
    """Return a share in percent, small ones by two digits."""
    share = 100 * part / (whole or 1)
    return f"{share:.0f} %" if share >= 1 else f"{share:.2g} %"


class Having:
    """Counts the distinct subjects that have something, up to `enough` of them, so that memory stays small."""

    def __init__(self, enough: int) -> None:
        self.enough = enough
        self._subjects: dict[str, set[int]] = defaultdict(set)

    def add(self, what: str, subject: int) -> None:
        """Remember that a subject has it."""
        subjects = self._subjects[what]
        if len(subjects) < self.enough:
            subjects.add(subject)

    def __contains__(self, what: str) -> bool:
        """Whether enough subjects have it."""
        return len(self._subjects.get(what, ())) >= self.enough


def frequent(names: Iterable[str], subjects: Iterable[int]) -> list[str]:
    """Return, sorted, the names that `SMALLEST_SHOWN` or more distinct subjects have; one subject a name, pairwise."""
    having = Having(SMALLEST_SHOWN)
    known = set()
    for name, subject in zip(names, subjects, strict=True):
        having.add(name, subject)
        known.add(name)
    return sorted(name for name in known if name in having)
