"""Messages to the person at the terminal; results go to standard output."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console


class Messages(Console):
    """A console on standard error that can write what it prints into the log of a run too."""

    copy: Console | None = None

    @contextmanager
    def copied_to(self, path: Path) -> Iterator[None]:
        """Write what is printed inside the block to a file too."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            self.copy = Console(file=file, width=120, highlight=False)
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


console = Messages(stderr=True, highlight=False)
