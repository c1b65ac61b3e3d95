"""The command line: a table of verbs, of which only the chosen one is imported, and the exit codes.

0 done, 2 the user's input, 128 + N stopped by signal N with its work saved, 1 anything else. A process of a job that
lost another one ends as if by SIGTERM, the signal that its launcher sends next.
"""

import importlib
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from contextlib import nullcontext

from clintune import __version__
from clintune.config.suggest import nearest
from clintune.core.errors import ClintuneError, StoppedError, StorageError, TrainingError
from clintune.core.private import private_files
from clintune.training.processes import lost_another, tell_launcher
from clintune.training.stop import listen_no_more

VERBS = {
    "train": ("clintune.verbs.run:train", "Fine-tune the model of a recipe; prints the run folder."),
    "evaluate": ("clintune.verbs.run:evaluate", "Score a run on its held-out subjects; writes metrics and report."),
    "publish": ("clintune.verbs.publish:publish", "Check the package of a run and send it to a hub."),
    "predict": ("clintune.verbs.predict:predict", "Score a cohort with a package, in shards."),
    "export": ("clintune.verbs.export:export", "Merge a package's adapter into its backbone; also as ONNX."),
    "benchmark": ("clintune.verbs.benchmark:benchmark", "Compare methods on the same folds and seeds."),
    "runs": ("clintune.verbs.look:runs", "List runs: state, step, best tuning score, duration, host."),
    "logs": ("clintune.verbs.look:logs", "Print what a run wrote while it ran."),
    "recipes": ("clintune.verbs.look:recipes", "List the recipes that come with clintune."),
    "show": ("clintune.verbs.look:show", "Print the composed config of a recipe."),
    "cache": ("clintune.verbs.look:cache", "List what is kept between runs, or clear it."),
}
_FOR_OTHERS = ("publish", "export")
"""Verbs whose results others may read, as the user's umask says; what all others write is their owner's alone."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in {"-h", "--help", "help"}:
        print(usage())
        return 0
    if arguments[0] in {"-V", "--version"}:
        print(f"clintune {__version__}")
        return 0
    try:
        return _run(arguments[0], arguments[1:])
    except (Exception, StoppedError, KeyboardInterrupt) as error:
        listen_no_more()  # it ends already, and says why
        return _explain(error)


def say(message: str, *, follows: bool = False) -> None:
    """Tell people why the command ends: on stderr, or to the launcher that started this process among several."""
    if not tell_launcher(message, follows=follows):
        print(f"clintune: {message}", file=sys.stderr)


def usage() -> str:
    """Return the help page: one line a verb."""
    rows = [f"  {verb:<10} {summary}" for verb, (_, summary) in VERBS.items()]
    lines = [
        "Fine-tune multimodal foundation models on clinical data.",
        "",
        "usage: clintune VERB RECIPE [KEY=VALUE ...]      clintune VERB --help says more",
        "",
        *rows,
        "",
        "example: clintune train quickstart adapter.r=16 trainer.max_steps=50",
    ]
    return "\n".join(lines)


def _explain(error: BaseException) -> int:
    """Say why the command ends, and return its exit code."""
    if isinstance(error, StoppedError):
        say(str(error))
        return 128 + error.signal
    if isinstance(error, ClintuneError):
        say(str(error))
        return 1 if isinstance(error, TrainingError | StorageError) else 2
    if lost_another(error):
        say("another process of the job ended; see what it said", follows=True)
        return 128 + signal.SIGTERM
    say("interrupted" if isinstance(error, KeyboardInterrupt) else unexpected(error))
    return 1


def _run(verb: str, arguments: list[str]) -> int:
    if verb not in VERBS:
        print(f"clintune: verb '{verb}' does not exist{nearest(verb, VERBS)}", file=sys.stderr)
        return 2
    module, _, function = VERBS[verb][0].partition(":")
    with nullcontext() if verb in _FOR_OTHERS else private_files():
        getattr(importlib.import_module(module), function)(arguments)
    return 0


def unexpected(error: BaseException) -> str:
    """Describe an error that nobody foresaw by type and place only: its message may hold patient data."""
    if os.environ.get("CLINTUNE_DEBUG"):
        return "".join(traceback.format_exception(error))
    place = traceback.extract_tb(error.__traceback__)[-1]
    reason = f" ({error.strerror})" if isinstance(error, OSError) and error.strerror else ""  # as in: disk full
    what = f"unexpected {type(error).__name__}{reason} in {place.filename}:{place.lineno}"
    return (
        f"{what}; the message is withheld because it may hold patient data: run again with CLINTUNE_DEBUG=1 to see it, "
        "and please report it"
    )


if __name__ == "__main__":
    sys.exit(main())
