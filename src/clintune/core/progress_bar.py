"""The progress of long work: a bar on a terminal, and a line now and then in logs and pipes."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Protocol, TypeVar

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from clintune.core.console import console

_REDRAW_SECONDS = 0.5
_LINE_SECONDS = 30
_Part = TypeVar("_Part")


class Advance(Protocol):
    """A function that is called as work goes on."""

    def __call__(self, done: int, word: str = "", tell: bool = False) -> None:
        """Report how much is done, and a word on how it goes; `tell` makes a line due at once."""


@contextmanager
def progress_bar(
    label: str, total: int, unit: str, *, size: int = 1, shown: bool = True
) -> Iterator[Advance]:
    """Yield a function to call as work goes on, up to `total` steps of `size` units each.

    `unit` is a plural such as "samples". Of several processes, one has `shown`.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[word]}"),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    lines = Lines(label, total, unit, size)

    # The bar is drawn between steps: rich's own thread would take time from the kernels of a CPU.
    drawn_here = shown and console.is_terminal
    with Progress(*columns, console=console, auto_refresh=False, disable=not drawn_here) as bar:
        row = bar.add_task(label, total=total, word="", rate="")
        drawn = 0.0

        def advance(done: int, word: str = "", tell: bool = False) -> None:
            nonlocal drawn
            now = time.monotonic()
            line = lines.after(done, word, now, tell)
            bar.update(row, completed=done, word=word, rate=lines.rate)
            if now - drawn >= _REDRAW_SECONDS or done == total:
                bar.refresh()
                drawn = now
            if line is not None and shown:
                console.note(line)

        yield advance


def counted(parts: Iterable[_Part], label: str, total: int, unit: str) -> Iterator[_Part]:
    """Yield each part, and show how many of the `total` went by."""
    with progress_bar(label, total, unit) as advance:
        advance(0)
        for number, part in enumerate(parts, start=1):
            yield part
            advance(number)


class Lines:
    """The lines of progress: one where it is asked for, and at least one every half a minute."""

    def __init__(self, label: str, total: int, unit: str, size: int) -> None:
        self.label = label
        self.total = total
        self.unit = unit
        self.size = size
        self.rate = ""
        self._said = time.monotonic()
        self._first: tuple[int, float] | None = None

    def after(self, done: int, word: str, now: float, tell: bool) -> str | None:
        """Return the line on what is done; None where no line is due yet.

        `now` is the time on the monotonic clock in seconds.
        """
        # What was done before the first call took none of the time measured here.
        self._first = self._first or (done, now)
        num_new, passed = done - self._first[0], now - self._first[1]
        seconds = passed / num_new if num_new and passed > 0 else None
        self.rate = f"{self.size / seconds:.3g} {self.unit}/s" if seconds else ""

        if not tell and now - self._said < _LINE_SECONDS:
            return None
        self._said = now
        left = f"{timedelta(seconds=round(seconds * (self.total - done)))} left" if seconds else ""
        parts = [f"{done} of {self.total}", word, self.rate, left]
        return f"{self.label}: {', '.join(part for part in parts if part)}"
