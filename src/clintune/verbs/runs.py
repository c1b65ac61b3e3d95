"""The verb that lists runs. No torch."""

from collections.abc import Sequence
from pathlib import Path

from clintune.experiment.run_list import ORDERS, list_runs
from clintune.verbs.arguments import Parser


def runs(argv: Sequence[str]) -> None:
    """List runs and how they stand."""
    parser = Parser("runs", "List runs, the newest last.")
    parser.add_argument(
        "folder", nargs="?", default="runs", metavar="FOLDER", help="where they are (default: runs)"
    )
    parser.add_argument(
        "--sort", choices=sorted(ORDERS), help="the greatest first: best tuning score, or duration"
    )
    arguments = parser.parse_args(argv)
    list_runs(Path(arguments.folder), arguments.sort)
