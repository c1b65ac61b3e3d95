"""The limit for small cells: counts of fewer subjects could identify patients and are not shown."""

from collections import defaultdict
from collections.abc import Iterable

SMALLEST_SHOWN = 11
"""The smallest number of subjects for something to be shown, standardized by, or released."""


def rough_share(part: int, whole: int) -> float:
    """Return `part / whole`; 0 or 1 where the part, or the rest, is too small to show."""
    if part < SMALLEST_SHOWN:
        return 0.0
    return 1.0 if whole - part < SMALLEST_SHOWN else part / whole


def in_percent(part: int, whole: int) -> str:
    """Return `part` of `whole` people in percent, unless it, or the rest, is too small to show."""
    if part < SMALLEST_SHOWN:
        return f"fewer than {SMALLEST_SHOWN}"
    return "nearly all" if 0 < whole - part < SMALLEST_SHOWN else percent(part, whole)


def percent(part: float, whole: float) -> str:
    """Return a share in percent; a small one has two significant digits."""
    share = 100 * part / (whole or 1)
    return f"{share:.0f} %" if share >= 1 else f"{share:.2g} %"


class Having:
    """Counts of the distinct subjects that have something.

    Each count stops at `enough`, so that memory stays small.
    """

    def __init__(self, enough: int) -> None:
        self.enough = enough
        self._subjects: dict[str, set[int]] = defaultdict(set)

    def add(self, what: str, subject: int) -> None:
        """Remember that a subject has `what`."""
        subjects = self._subjects[what]
        if len(subjects) < self.enough:
            subjects.add(subject)

    def __contains__(self, what: str) -> bool:
        """Return whether enough subjects have `what`."""
        return len(self._subjects.get(what, ())) >= self.enough


def frequent(names: Iterable[str], subjects: Iterable[int]) -> list[str]:
    """Return, sorted, the names that at least `SMALLEST_SHOWN` distinct subjects have.

    `names` and `subjects` are pairs: each name belongs to the subject at the same position.
    """
    having = Having(SMALLEST_SHOWN)
    known = set()
    for name, subject in zip(names, subjects, strict=True):
        having.add(name, subject)
        known.add(name)

    return sorted(name for name in known if name in having)
