"""The floor of small cells: what fewer subjects than this have tells of single patients, and is held back."""

from collections import defaultdict
from collections.abc import Iterable

SMALLEST_SHOWN = 11
"""Subjects that must share something before it is shown, standardised by, or leaves the house."""


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
