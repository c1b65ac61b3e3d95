"""Statistics of training events: common codes, the spread of values, how often a code occurs.

A value is read as a normal score: its rank among the training values of its code, on the scale of
a bell curve. Physiology has long tails and typing errors, which would move a mean and a deviation.
The scale is stored as knots. Each knot is the mean of an equal share of the values, of enough
subjects, to four digits, so that it is nobody's own value.
"""

from collections.abc import Iterable, Sequence
from itertools import compress
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clintune.contracts import RowColumns
from clintune.modalities.rows import num_subjects
from clintune.modalities.usual import usual_values

SEPARATOR = "//"
"""The separator between the parts of a code."""
_KNOTS = (32, 16, 8, 4, 2)
"""Numbers of knots. A code gets the greatest that leaves enough subjects to each knot."""
MOST_KNOTS = _KNOTS[0]
_DRAWN = 2048
"""Most values of a code that its knots are computed from; of more, so many are drawn."""
_DIGITS = 4
_SEED = 0


class Drawn(NamedTuple):
    """Drawn values, each with its code, its subject and the chance that drew it [R]."""

    code: NDArray[np.int64]
    value: NDArray[np.float64]
    subject: NDArray[np.int64]
    chance: NDArray[np.float64]


def prefixes_of(code: str) -> list[str]:
    """Return the prefixes of a code that end before a separator, longest first."""
    parts = code.split(SEPARATOR)
    return [SEPARATOR.join(parts[:number]) for number in range(len(parts) - 1, 0, -1)]


class EventCounts:
    """Counts of events that come in chunks, all events of a subject in one chunk.

    Memory grows with the number of codes, not of rows.
    """

    def __init__(self, codes: Sequence[str]) -> None:
        self.codes = codes
        prefixes = {prefix for code in codes for prefix in prefixes_of(code)}
        self.prefixes = sorted(prefixes - set(codes))

        # Per code: subjects who have it, subjects with a value, sums of log(1 + count).
        self.having, self.measured = np.zeros((2, len(codes)), np.int64)
        self.having_prefix = np.zeros(len(self.prefixes), np.int64)
        self.logs, self.squares = np.zeros((2, len(codes)))

        # The values drawn so far. A chance above the limit of a code draws no value of it any more.
        self._random = np.random.default_rng(_SEED)
        nothing = np.empty(0, np.int64)
        self.drawn = Drawn(nothing, np.empty(0), nothing, np.empty(0))
        self._limit = np.ones(len(codes))
        self._above = self._number_prefixes()

    def _number_prefixes(self) -> NDArray[np.int64]:
        """Return the numbers of each code's prefixes [C, A], padded with -1."""
        place = {prefix: number for number, prefix in enumerate(self.prefixes)}
        above: list[list[int]] = []
        for code in self.codes:
            above.append([place[prefix] for prefix in prefixes_of(code) if prefix in place])

        depth = max(map(len, above), default=0)
        return np.array([numbers + [-1] * (depth - len(numbers)) for numbers in above], np.int64)

    def add(self, rows: RowColumns) -> None:
        """Count the rows of some subjects; a row's owner is its subject."""
        # Count the pairs of a subject and a code.
        num = len(self.codes)
        code, subject = rows.code.astype(np.int64), rows.owner
        pairs, counts = np.unique(subject * num + code, return_counts=True)
        pair_subject, pair_code = np.divmod(pairs, num)

        self.having += np.bincount(pair_code, minlength=num)
        self.logs += np.bincount(pair_code, np.log1p(counts), minlength=num)
        self.squares += np.bincount(pair_code, np.log1p(counts) ** 2, minlength=num)

        # Count the subjects of each prefix, one depth of the prefixes at a time.
        for above in self._above.T:
            known = above[pair_code] >= 0
            here = above[pair_code[known]]
            self.having_prefix += num_subjects(here, pair_subject[known], len(self.prefixes))

        # Count the subjects with a value, and draw values for the knots.
        known = np.isfinite(rows.value)
        self.measured += num_subjects(code[known], subject[known], num)
        self._draw(code[known], rows.value[known].astype(np.float64), subject[known])

    def _draw(
        self, code: NDArray[np.int64], value: NDArray[np.float64], subject: NDArray[np.int64]
    ) -> None:
        """Keep the values of each code that have the least chances.

        These are the same values however the rows are cut into chunks.
        """
        # Draw a chance for each value, and add those that may be kept.
        chance = self._random.random(len(code))
        likely = chance < self._limit[code]
        new = Drawn(code[likely], value[likely], subject[likely], chance[likely])
        both = Drawn(
            np.concatenate([self.drawn.code, new.code]),
            np.concatenate([self.drawn.value, new.value]),
            np.concatenate([self.drawn.subject, new.subject]),
            np.concatenate([self.drawn.chance, new.chance]),
        )

        # Rank the values of each code by their chance, and keep the first.
        order = np.lexsort((both.chance, both.code))
        ordered = both.code[order]
        rank = np.arange(len(order)) - np.searchsorted(ordered, ordered, "left")
        kept = order[rank < _DRAWN]
        self.drawn = Drawn(both.code[kept], both.value[kept], both.subject[kept], both.chance[kept])

        # Where the code is full, its last chance is the new limit.
        last = rank == _DRAWN - 1
        self._limit[ordered[last]] = both.chance[order[last]]


def fit_events(
    chunks: Iterable[RowColumns], codes: Sequence[str], min_subjects: int
) -> dict[str, Any]:
    """Return the knots and count moments of each code that enough training subjects have.

    The moments are mean and deviation of log(1 + count) over the subjects with the code. A code
    has no knots if too few subjects have a value of it, or if all values are the same. The
    statistics name the prefixes that enough subjects have. They count the other codes and do not
    name them.
    """
    counts = EventCounts(codes)
    for rows in chunks:
        counts.add(rows)

    # The knots and the moments of the common codes; drawn values stand in the order of the codes.
    ends = np.searchsorted(counts.drawn.code, np.arange(len(codes) + 1))
    common = np.flatnonzero(counts.having >= min_subjects).tolist()
    known = {}
    for number in sorted(common, key=codes.__getitem__):
        part = slice(ends[number], ends[number + 1])
        knots: list[float] = []
        if counts.measured[number] >= min_subjects:
            drawn = counts.drawn
            knots = find_knots(drawn.value[part], drawn.subject[part], min_subjects)
        known[codes[number]] = {"knots": knots, "count": _moments(counts, number)}

    frequent = (counts.having_prefix >= min_subjects).tolist()
    return {
        "codes": known,
        "prefixes": list(compress(counts.prefixes, frequent)),
        "min_subjects": min_subjects,
        "num_rare": int((counts.having > 0).sum()) - len(known),
    }


def find_knots(
    values: NDArray[np.float64], subjects: NDArray[np.int64], min_subjects: int
) -> list[float]:
    """Return the means of equal shares of the usual values, ascending.

    There are as many shares as leave enough subjects to each. The list is empty where there would
    be less than two shares, or where all means are the same.
    """
    usual = usual_values(values)
    values, subjects = values[usual], subjects[usual]
    order = np.argsort(values, kind="stable")

    for number in _KNOTS:
        if len(order) < number * min_subjects:
            continue
        parts = np.array_split(order, number)
        if all(len(np.unique(subjects[part])) >= min_subjects for part in parts):
            knots = [rounded(float(values[part].mean())) for part in parts]
            return knots if knots[-1] > knots[0] else []
    return []


def rounded(value: float) -> float:
    """Return a number to four digits."""
    return float(f"{value:.{_DIGITS}g}")


def _moments(counts: EventCounts, number: int) -> list[float]:
    """Return mean and deviation of log(1 + count) of a code over the subjects who have it.

    The deviation is 1 where there is none.
    """
    having = counts.having[number]
    mean = counts.logs[number] / having
    variance = counts.squares[number] / having - mean**2
    deviation = float(np.sqrt(variance)) if variance > 1e-9 else 1.0
    return [rounded(float(mean)), rounded(deviation)]
