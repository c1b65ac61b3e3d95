"""What the training subjects' events tell: which codes many have, how values spread, how often a code comes.

A value is read as a normal score: where it stands among the training values of its code, on the scale of a bell curve.
Physiology has long tails and typing errors, which a mean and a deviation would follow. The scale is kept as knots,
each the mean of an equal share of the values, of enough subjects each, to four digits: nobody's own value.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clintune.contracts import RowColumns
from clintune.modalities.rows import num_subjects
from clintune.modalities.usual import usual_values

SEPARATOR = "//"
"""Between the parts of a code."""
_KNOTS = (32, 16, 8, 4, 2)
"""Numbers of knots, of which a code gets the greatest that leaves enough subjects to each."""
MOST_KNOTS = _KNOTS[0]
_DRAWN = 2048
"""Values of a code that are drawn for its knots, where it has more."""
_DIGITS = 4
_SEED = 0


class Drawn(NamedTuple):
    """Values drawn by code, each with its subject and the chance that drew it [R]."""

    code: NDArray[np.int64]
    value: NDArray[np.float64]
    subject: NDArray[np.int64]
    chance: NDArray[np.float64]


def prefixes_of(code: str) -> list[str]:
    """Return the beginnings of a code that end before a separator, the longest first, without the code itself."""
    parts = code.split(SEPARATOR)
    return [SEPARATOR.join(parts[:number]) for number in range(len(parts) - 1, 0, -1)]


class EventCounts:
    """Counts of events that come in chunks, all of a subject in one: memory grows with the codes, not with the rows."""

    def __init__(self, codes: Sequence[str]) -> None:
        self.codes = codes
        self.prefixes = sorted(
            {prefix for code in codes for prefix in prefixes_of(code)} - set(codes)
        )
        self.having, self.measured = np.zeros((2, len(codes)), np.int64)
        self.having_prefix = np.zeros(len(self.prefixes), np.int64)
        self.logs, self.squares = np.zeros((2, len(codes)))

        self._random = np.random.default_rng(_SEED)
        nothing = np.empty(0, np.int64)
        self.drawn = Drawn(nothing, np.empty(0), nothing, np.empty(0))
        self._limit = np.ones(len(codes))  # chances above it draw no value of a code any more
        place = {prefix: number for number, prefix in enumerate(self.prefixes)}
        above = [
            [place[prefix] for prefix in prefixes_of(code) if prefix in place] for code in codes
        ]
        depth = max(map(len, above), default=0)
        self._above = np.array(
            [numbers + [-1] * (depth - len(numbers)) for numbers in above], np.int64
        )

    def add(self, rows: RowColumns) -> None:
        """Count the rows of some subjects; a row's owner is its subject."""
        num = len(self.codes)
        code, subject = rows.code.astype(np.int64), rows.owner
        pairs, counts = np.unique(subject * num + code, return_counts=True)
        pair_subject, pair_code = np.divmod(pairs, num)

        self.having += np.bincount(pair_code, minlength=num)
        self.logs += np.bincount(pair_code, np.log1p(counts), minlength=num)
        self.squares += np.bincount(pair_code, np.log1p(counts) ** 2, minlength=num)
        for above in self._above.T:
            known = above[pair_code] >= 0
            here = above[pair_code[known]]
            self.having_prefix += num_subjects(here, pair_subject[known], len(self.prefixes))

        known = np.isfinite(rows.value)
        self.measured += num_subjects(code[known], subject[known], num)
        self._draw(code[known], rows.value[known].astype(np.float64), subject[known])

    def _draw(
        self, code: NDArray[np.int64], value: NDArray[np.float64], subject: NDArray[np.int64]
    ) -> None:
        """Keep, of each code, the values with the least chances: the same ones however rows are cut into chunks."""
        chance = self._random.random(len(code))
        likely = chance < self._limit[code]
        new = Drawn(code[likely], value[likely], subject[likely], chance[likely])
        both = Drawn(
            np.concatenate([self.drawn.code, new.code]),
            np.concatenate([self.drawn.value, new.value]),
            np.concatenate([self.drawn.subject, new.subject]),
            np.concatenate([self.drawn.chance, new.chance]),
        )

        order = np.lexsort((both.chance, both.code))
        ordered = both.code[order]
        rank = np.arange(len(order)) - np.searchsorted(ordered, ordered, "left")
        kept = order[rank < _DRAWN]
        self.drawn = Drawn(both.code[kept], both.value[kept], both.subject[kept], both.chance[kept])
        last = rank == _DRAWN - 1
        self._limit[ordered[last]] = both.chance[order[last]]


def fit_events(
    chunks: Iterable[RowColumns], codes: Sequence[str], min_subjects: int
) -> dict[str, Any]:
    """Return the knots and the mean and deviation of log counts of each code that enough training subjects have.

    A code of which too few have a value, or all the same, has no knots. Of `prefixes` those are named that enough
    subjects have; of other codes only the number is told.
    """
    counts = EventCounts(codes)
    for rows in chunks:
        counts.add(rows)

    ends = np.searchsorted(counts.drawn.code, np.arange(len(codes) + 1))
    common = np.flatnonzero(counts.having >= min_subjects).tolist()
    known = {}
    for number in sorted(common, key=codes.__getitem__):
        part = slice(ends[number], ends[number + 1])
        enough = counts.measured[number] >= min_subjects
        knots = (
            find_knots(counts.drawn.value[part], counts.drawn.subject[part], min_subjects)
            if enough
            else []
        )
        known[codes[number]] = {"knots": knots, "count": _moments(counts, number)}

    frequent = counts.having_prefix >= min_subjects
    return {
        "codes": known,
        "prefixes": [
            prefix for prefix, many in zip(counts.prefixes, frequent, strict=True) if many
        ],
        "min_subjects": min_subjects,
        "num_rare": int((counts.having > 0).sum()) - len(known),
    }


def find_knots(
    values: NDArray[np.float64], subjects: NDArray[np.int64], min_subjects: int
) -> list[float]:
    """Return the means of as many equal shares of the usual values as have enough subjects each; ascending.

    None where that are less than two, or all are alike.
    """
    usual = usual_values(values)
    values, subjects = values[usual], subjects[usual]
    order = np.argsort(values, kind="stable")
    for number in _KNOTS:
        parts = np.array_split(order, number)
        if len(order) >= number * min_subjects and all(
            len(np.unique(subjects[p])) >= min_subjects for p in parts
        ):
            knots = [rounded(float(values[part].mean())) for part in parts]
            return knots if knots[-1] > knots[0] else []
    return []


def rounded(value: float) -> float:
    """Return a number to four digits."""
    return float(f"{value:.{_DIGITS}g}")


def _moments(counts: EventCounts, number: int) -> list[float]:
    """Return mean and deviation, 1 where there is none, of log(1 + count) of a code over the subjects who have it."""
    having = counts.having[number]
    mean = counts.logs[number] / having
    variance = counts.squares[number] / having - mean**2
    deviation = float(np.sqrt(variance)) if variance > 1e-9 else 1.0
    return [rounded(float(mean)), rounded(deviation)]
