"""The text that people read at the terminal: messages on standard error, tables on standard output.

Strangers chose the names in it. So markup in them is not read, and control characters in them are
written out, so that no terminal obeys them.
"""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from rich.box import ASCII
from rich.console import Console
from rich.table import Table
from rich.text import Text

from clintune.core.files import storing
from clintune.core.text import visible

WIDEST = 10_000
"""A width in columns that breaks no row of a table."""


class PlainConsole(Console):
    """A console that shows text as it is.

    `[brackets]` and `:words:` stand for themselves.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(highlight=False, markup=False, emoji=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Return text for the terminal: lines stay, hidden characters are written out."""
        return super().render_str("\n".join(map(visible, text.split("\n"))), **options)

    def on_broken_pipe(self) -> None:
        """Let the command line end as it does for any other output."""
        raise  # rich calls this while it handles the error


class Messages(PlainConsole):
    """A console on standard error that can also write what it prints into the log of a run."""

    copy: Console | None = None
    path = Path()
    """The file of the copy."""

    @contextmanager
    def copied_to(self, path: Path) -> Iterator[None]:
        """Write what is printed inside the block to a file too.

        Raises StorageError where the disk of `path` takes no more.
        """
        with storing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            file = path.open("a", encoding="utf-8", errors="backslashreplace")
        self.path, self.copy = path, PlainConsole(file=file, width=120)
        try:
            yield
        finally:
            self.copy = None
            with suppress(OSError):  # for a line that did not fit, which was reported
                file.close()

    def print(self, *objects: Any, **options: Any) -> None:
        """Print here and in the copy; lines of text are not broken, so that paths can be copied."""
        options.setdefault("soft_wrap", all(isinstance(part, str) for part in objects))
        super().print(*objects, **options)
        self._copy(*objects, **options)

    def note(self, text: str) -> None:
        """Write a line of progress to the log.

        It goes to standard error too, unless a bar shows the progress there.
        """
        if self.is_terminal:
            self._copy(text, soft_wrap=True)
        else:
            self.print(text)

    def print_table(self, table: Table) -> None:
        """Print a table in its full width, so that a pipe or a narrow terminal cuts no name."""
        if self.options.ascii_only:
            table.box = ASCII

        wide = PlainConsole(file=io.StringIO(), width=WIDEST)
        with wide.capture() as capture:
            wide.print(table)
        self.print("\n".join(line.rstrip() for line in capture.get().splitlines()))

    def _copy(self, *objects: Any, **options: Any) -> None:
        if self.copy is not None:
            with storing(self.path):
                self.copy.print(*objects, **options)


console = Messages(stderr=True)


def print_table(*parts: Any, width: int = 160) -> None:
    """Print tables and text to standard output.

    `width` is the width in columns for a pipe or a file, which has none of its own.
    """
    out = PlainConsole(width=None if sys.stdout.isatty() else width)
    for part in parts:
        out.print(part, soft_wrap=isinstance(part, str))


def show_any_text() -> None:
    """Let both streams write any text.

    What the encoding of a stream lacks is written out, as on an ASCII terminal. A stream that is
    closed takes everything and shows nothing.
    """
    # Each replacement stays open until the process ends.
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
