"""Items whose files go on after a prediction time: each part that a sample sees has a number."""

from collections.abc import Mapping
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from clintune.cohort.index import VisibleItems
from clintune.cohort.samples import Items
from clintune.contracts import Extent


class Beyond(NamedTuple):
    """Hours of each item [I] after a prediction time, and its extent.

    `after` are the hours after the prediction time, `hours` all hours of the item, and `end` is the
    end of the item in hours after the time of its row.
    """

    after: NDArray[np.float64]
    hours: NDArray[np.float64]
    end: NDArray[np.float64]


def hours_beyond(
    begin: NDArray[np.float64], end: NDArray[np.float64], hours: NDArray[np.float64]
) -> Beyond:
    """Return `Beyond` of items from `begin` to `end`, seen `hours` after the time of their row."""
    return Beyond((end - np.maximum(hours, begin)).clip(min=0), end - begin, end)


class Cuts:
    """The parts of items up to prediction times.

    The pairs of item `number` [V] and `hours` [V] stand in ascending order. The part of a pair has
    the number `first` plus the pair's place. `begin` and `end` [I] are the extents of all items. A
    part that is not among the pairs has the number after the last.
    """

    def __init__(
        self,
        number: NDArray[np.int64],
        hours: NDArray[np.float64],
        begin: NDArray[np.float64],
        end: NDArray[np.float64],
    ) -> None:
        self.number = number
        self.hours = hours
        self.begin = begin
        self.end = end
        self.first = len(end)
        self._moments = np.unique(hours)
        self._codes = self._code(number, hours)

    @classmethod
    def of(cls, items: Items, extents: Mapping[int, Extent]) -> Self:
        """Return the parts that the samples of `items` see; an item without an extent has none."""
        begin, end = np.zeros((2, items.samples.num_rows(items.modality)))
        for number, extent in extents.items():
            begin[number], end[number] = extent
        moments = items.moments()
        cut = end[moments.number] > moments.hours
        return cls(moments.number[cut], moments.hours[cut], begin, end)

    @property
    def columns(self) -> tuple[NDArray[Any], ...]:
        """Return the arguments of the constructor."""
        return self.number, self.hours, self.begin, self.end

    def __len__(self) -> int:
        return len(self.number)

    def select(self, seen: VisibleItems) -> VisibleItems:
        """Replace the number of an item by that of its part where a sample sees a part."""
        places = np.flatnonzero(self.end[seen.number] > seen.hours)
        if not len(places):
            return seen
        number = seen.number.copy()
        number[places] = self.first + self._place(seen.number[places], seen.hours[places])
        return seen._replace(number=number)

    def beyond(self, seen: VisibleItems) -> Beyond:
        """Return how long items go on after the prediction times that see them [I]."""
        return hours_beyond(self.begin[seen.number], self.end[seen.number], seen.hours)

    def _place(self, number: NDArray[np.int64], hours: NDArray[np.float64]) -> NDArray[np.int64]:
        if not len(self):
            return np.zeros(len(number), np.int64)
        place = np.searchsorted(self._codes, self._code(number, hours)).clip(max=len(self) - 1)
        known = (self.number[place] == number) & (self.hours[place] == hours)
        return np.where(known, place, len(self))

    def _code(self, number: NDArray[np.int64], hours: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return numbers that sort as the pairs do."""
        return number * (len(self._moments) + 1) + np.searchsorted(self._moments, hours)
