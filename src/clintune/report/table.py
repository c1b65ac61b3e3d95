"""Tables of a page. A table holds true counts; it shows none under 11, nor one that reveals it.

Suppression stands here alone: whoever writes a table gets its rows from `Table.shown`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from clintune.report.small_cells import hide_small, shown, shown_part, shown_share, shown_together


@dataclass(frozen=True)
class Count:
    """A number of patients or samples; None where there is none.

    Where the `whole` that it is a part of is known to a reader, the rest is hidden as well.
    """

    count: int | None
    whole: int | None = None


@dataclass(frozen=True)
class Share:
    """A share, of which `part` people stand on one side and `rest` on the other."""

    value: float | None
    part: int
    rest: int


@dataclass(frozen=True)
class Number:
    """A number to so many decimals, or to three digits that count where `digits` is None.

    What rounds to zero has no minus.
    """

    value: float | None
    digits: int | None = 3
    style: Literal["", "signed", "percent", "thousands"] = ""

    def __str__(self) -> str:
        if self.value is None:
            return "–"
        if self.style == "percent":
            return f"{self.value:z.{self.digits}%}"
        if self.digits is None:
            return f"{self.value:z.3g}"
        sign = "+" if self.style == "signed" else ""
        group = "," if self.style == "thousands" else ""
        return f"{self.value:{sign}z{group}.{self.digits}f}".replace("-", "−")


@dataclass(frozen=True)
class Score:
    """A value with its interval, as `metrics.json` holds it; None where too few have one.

    `ends` are the beginning, chance and end of a scale on which a page shows it as a band.
    """

    values: Mapping[str, Any] | None
    digits: int = 3
    style: Literal["", "signed"] = ""
    ends: tuple[float, float, float] | None = None
    absent: str = "not defined"

    @property
    def value(self) -> float | None:
        """Return the value itself, None where it is undefined."""
        return None if self.values is None else self.values["value"]

    @property
    def is_defined(self) -> bool:
        """Return whether there is a value."""
        return self.value is not None

    @property
    def has_interval(self) -> bool:
        """Return whether there is an interval, too."""
        return self.values is not None and self.values["low"] is not None

    def number(self, key: str) -> str:
        """Return `value`, `low` or `high` as text."""
        assert self.values is not None
        return str(Number(self.values[key], self.digits, self.style))

    def position(self, key: str) -> float:
        """Return where `value`, `low`, `high` or chance stands on the scale, from 0 to 100."""
        assert self.values is not None
        assert self.ends is not None
        low, chance, high = self.ends
        value = chance if key == "chance" else self.values[key]
        return float(round(100 * min(max((value - low) / (high - low), 0.0), 1.0), 2))


@dataclass(frozen=True)
class Links:
    """A name, and below it links by what they are called."""

    name: str
    links: Mapping[str, str]


class Counted(str):
    """A count as it may be read."""

    __slots__ = ()


Cell = str | Count | Share | Number | Score | Links


@dataclass(frozen=True)
class Row:
    """Cells, of which the first names the row. A page knows the styles `mean`, `own` and `best`."""

    cells: Sequence[Cell]
    style: str = ""


@dataclass(frozen=True)
class Table:
    """Rows below a head.

    `sums` says which sums of its counts a reader may know: those of `rows`; those of `columns`, to
    each of which `rest` may add what stands in no row; or both, in a `grid`.
    """

    head: Sequence[str]
    rows: Sequence[Row]
    sums: Literal["none", "rows", "columns", "grid"] = "none"
    rest: int = 0

    def shown(self) -> list[Row]:
        """Return the rows with every count and share as text that may be read."""
        table = [list(row.cells) for row in self.rows]
        places = [_counts_in(cells) for cells in table]
        counted = [number for number, columns in enumerate(places) if columns]

        if self.sums == "grid":
            _hide_grid(table, places, counted)
        elif self.sums == "rows":
            for row in counted:
                _hide_grid(table, places, [row])
        elif self.sums == "columns":
            self._hide_columns(table, places)

        found = []
        for true, cells in zip(self.rows, table, strict=True):
            found.append(replace(true, cells=[readable(cell) for cell in cells]))
        return found

    def _hide_columns(self, table: list[list[Cell]], places: list[list[int]]) -> None:
        """Hide counts of columns whose sums may be known."""
        for i in sorted({i for columns in places for i in columns}):
            rows = [number for number, columns in enumerate(places) if i in columns]
            counts = [_count(table[row][i]) for row in rows]
            all_of_it = [*counts, self.rest] if self.rest > 0 else counts
            for row, text in zip(rows, shown_together(all_of_it), strict=False):
                table[row][i] = Counted(text)


def _hide_grid(table: list[list[Cell]], places: list[list[int]], rows: list[int]) -> None:
    """Hide counts of some rows whose sums along rows and columns may be known."""
    if not rows:
        return
    counts = []
    for row in rows:
        counts.append([_count(table[row][i]) for i in places[row]])
    for row, texts in zip(rows, hide_small(np.array(counts)), strict=True):
        for i, text in zip(places[row], texts, strict=True):
            table[row][i] = Counted(text)


def _counts_in(cells: Sequence[Cell]) -> list[int]:
    """Return at which places of a row counts stand."""
    return [i for i, cell in enumerate(cells) if isinstance(cell, Count)]


def _count(cell: Cell) -> int:
    """Return the number that a count holds: where sums are known, none is unknown."""
    assert isinstance(cell, Count)
    assert cell.count is not None
    return cell.count


def readable(cell: Cell) -> Cell:
    """Return a cell by itself such that nothing small follows from it."""
    match cell:
        case Count(count, None):
            return Counted(shown(count))
        case Count(count, int(whole)):
            return Counted(shown_part(count, whole))
        case Share(value, part, rest):
            return Counted(shown_share(value, part, rest))
    return cell
