"""Messages to the person at the terminal; results go to standard output."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from rich.console import Console

from clintune.core.files import storing


class Messages(Console):
    """A console on standard error that can write what it prints into the log of a run too."""

    copy: Console | None = None
    path = Path()
    """Where the copy stands."""

    @contextmanager
    def copied_to(self, path: Path) -> Iterator[None]:
        """Write what is printed inside the block to a file too; StorageError where its disk takes no more."""
        with storing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            file = path.open("a", encoding="utf-8")
        self.path, self.copy = path, Console(file=file, width=120, highlight=False)
        try:
            yield
        finally:
            self.copy = None
            with suppress(OSError):  # of a line that did not fit, which was told
                file.close()

    def print(self, *objects: Any, **options: Any) -> None:
        """Print, here and there; lines of text are not broken, so that paths can be copied."""
        options.setdefault("soft_wrap", all(isinstance(part, str) for part in objects))
        super().print(*objects, **options)
        self._copy(*objects, **options)

    def note(self, text: str) -> None:
        """Write a line on how work goes to the log, and to standard error unless a bar shows it there."""
        if self.is_terminal:
            self._copy(text, markup=False, soft_wrap=True)
        else:
            self.print(text, markup=False)

    def _copy(self, *objects: Any, **options: Any) -> None:
        if self.copy is not None:
            with storing(self.path):
                self.copy.print(*objects, **options)


console = Messages(stderr=True, highlight=False)
