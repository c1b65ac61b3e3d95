"""The verb that prints what a run wrote. No torch."""

from collections.abc import Sequence
from pathlib import Path

from clintune.experiment.logs import print_logs
from clintune.verbs.arguments import Parser


def logs(argv: Sequence[str]) -> None:
    """Print the logs of a run or of a scoring job."""
    parser = Parser("logs", "Print what a run wrote while it ran.")
    parser.add_argument(
        "run", metavar="RUN", help="folder of a run, or of what `clintune predict` does"
    )
    print_logs(Path(parser.parse_args(argv).run))
