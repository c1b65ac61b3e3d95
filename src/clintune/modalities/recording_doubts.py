"""What is doubtful about training recordings: gaps, ones in which nothing moves, numbers that stand for a gap."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from clintune.core.disclosure import rough_share
from clintune.core.sentinels import SENTINELS, have_sentinels, is_sentinel
from clintune.core.text import visible
from clintune.modalities.signals import Signal, Values

SHARES = ("gaps", "flat")
MARKED = "marked"
"""What of the statistics is told alone; nothing is computed by it."""
_WORTH_A_WORD = {"gaps": 0.5, "flat": 0.0}
_FEW = 10
"""Values of a recording that may be alike by chance."""


class RecordingDoubts:
    """Counts over recordings, at the rate of their files."""

    def __init__(self) -> None:
        self._values = 0
        self._gaps = 0
        self._subjects = set[int]()
        self._flat = set[int]()
        self._counts: dict[str, Any] = defaultdict(lambda: np.zeros(len(SENTINELS), np.int64))
        self._ranges: dict[str, tuple[float, float]] = {}

    def add(self, subject: int, signal: Signal) -> None:
        """Count the values of a subject's recording."""
        self._subjects.add(subject)
        self._values += signal.values.size
        observed = [row[np.isfinite(row)] for row in signal.values]
        number = sum(map(len, observed))
        self._gaps += signal.values.size - number
        if number > _FEW and not any(len(row) and row.min() < row.max() for row in observed):
            self._flat.add(subject)
        for name, row in zip(signal.channels, observed, strict=True):
            self._look(name, row)

    def statistics(self, names: Iterable[str]) -> dict[str, Any]:
        """Return the share of gaps among all values, and of subjects with a flat recording; channels with sentinels.

        Those are of `names`, which enough subjects have.
        """
        known = [name for name in names if name in self._counts]
        least, most = np.array([self._ranges.get(name, (np.nan, np.nan)) for name in known]).reshape(-1, 2).T
        counts = np.array([self._counts[name] for name in known]).reshape(-1, len(SENTINELS))
        marked = have_sentinels(counts, least, most)
        return {
            "gaps": round(self._gaps / max(self._values, 1), 3),
            "flat": round(rough_share(len(self._flat), len(self._subjects)), 3),
            MARKED: [name for name, is_marked in zip(known, marked.tolist(), strict=True) if is_marked],
        }

    def _look(self, name: str, values: Values) -> None:
        """Count the sentinels among observed values of a channel, and between what all others lie."""
        marks, counts = is_sentinel(values), self._counts[name]
        counts += (values[marks][:, None] == SENTINELS).sum(axis=0)
        if len(others := values[~marks]):
            least, most = self._ranges.get(name, (np.inf, -np.inf))
            self._ranges[name] = min(least, float(others.min())), max(most, float(others.max()))


def told(statistics: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each doubt that the statistics hold."""
    said = []
    if (gaps := statistics.get("gaps", 0.0)) > _WORTH_A_WORD["gaps"]:
        said.append(f"{100 * gaps:.0f} % of the values of training recordings are gaps; look whether all was read")
    if (flat := statistics.get("flat", 0.0)) > _WORTH_A_WORD["flat"]:
        said.append(
            f"{100 * flat:.0f} % of the training subjects have a recording in which no value differs from another; "
            "drop it, unless nothing moved"
        )
    if marked := statistics.get(MARKED):
        names = ", ".join(map(visible, marked))
        said.append(
            f"channel {names} has values as -999 or 9999, far from all others; leave a gap where one is missing"
        )
    return said
