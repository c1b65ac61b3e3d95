"""Messages to the person at the terminal; results go to standard output."""

from rich.console import Console

console = Console(stderr=True, highlight=False)
