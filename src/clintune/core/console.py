"""What people read at the terminal: messages on standard error, tables on standard output.

Names in it were chosen by strangers: no markup is read in them, and no terminal obeys what they hold.
"""

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from clintune.core.text import visible


class PlainConsole(Console):
    """A console that shows text as it is, each character of it: `[brackets]` and `:words:` stand for themselves."""

    def __init__(self, **options: Any) -> None:
        super().__init__(highlight=False, markup=False, emoji=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Return text for the terminal, lines as they are and hidden characters written out."""
        return super().render_str("\n".join(map(visible, text.split("\n"))), **options)

    def on_broken_pipe(self) -> None:
        """Let the command line end as it does for any other output."""
        raise  # rich calls this while it handles the error


class Messages(PlainConsole):
    """A console on standard error that can write what it prints into the log of a run too."""

    copy: Console | None = None

    @contextmanager
    def copied_to(self, path: Path) -> Iterator[None]:
        """Write what is printed inside the block to a file too."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8", errors="backslashreplace") as file:
            self.copy = PlainConsole(file=file, width=120)
            try:
                yield
            finally:
                self.copy = None

    def print(self, *objects: Any, **options: Any) -> None:
        """Print, here and there; lines of text are not broken, so that paths can be copied."""
        options.setdefault("soft_wrap", all(isinstance(part, str) for part in objects))
        super().print(*objects, **options)
        if self.copy is not None:
            self.copy.print(*objects, **options)


console = Messages(stderr=True)


def print_table(*parts: Any, width: int = 160) -> None:
    """Print tables and text to standard output; `width` is that of a pipe or file, which has none of its own."""
    out = PlainConsole(width=None if sys.stdout.isatty() else width)
    for part in parts:
        out.print(part, soft_wrap=isinstance(part, str))


def show_any_text() -> None:
    """Let both streams write out what their encoding lacks, as an ASCII terminal, rather than fail."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
