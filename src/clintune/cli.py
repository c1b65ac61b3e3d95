"""The command line: a table of verbs, of which only the chosen one is imported, and the exit codes.

Exit codes: 0 done; 2 wrong input of the user; 128 + N stopped by signal N with its work saved; 1
anything else. If one process of a job fails, the others end as if by SIGTERM, the signal that their
launcher sends next.
"""

import importlib
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from contextlib import nullcontext, suppress

from clintune import __version__
from clintune.config.suggest import nearest
from clintune.core.console import show_any_text
from clintune.core.errors import (
    ClintuneError,
    ConfigError,
    StoppedError,
    StorageError,
    TrainingError,
)
from clintune.core.outside import (
    address_space,
    outside_reason,
    own_words,
    place,
    reader_is_gone,
    tight_memory,
    users_fault,
)
from clintune.core.text import visible
from clintune.launch.processes import is_collateral_failure, report_to_launcher
from clintune.launch.signals import ignore_signals, install_signal_handlers
from clintune.storage.private import private_files

VERBS = {
    "train": (
        "clintune.verbs.train:train",
        "Fine-tune the model of a recipe; prints the run folder.",
    ),
    "evaluate": (
        "clintune.verbs.evaluate:evaluate",
        "Score a run on its held-out subjects; writes metrics and report.",
    ),
    "publish": (
        "clintune.verbs.publish:publish",
        "Check the package of a run and send it to a hub.",
    ),
    "predict": ("clintune.verbs.predict:predict", "Score a cohort with a package, in shards."),
    "export": (
        "clintune.verbs.export:export",
        "Merge a package's adapter into its backbone; also as ONNX.",
    ),
    "benchmark": (
        "clintune.verbs.benchmark:benchmark",
        "Compare methods on the same folds and seeds.",
    ),
    "runs": (
        "clintune.verbs.runs:runs",
        "List runs: state, step, best tuning score, duration, host.",
    ),
    "logs": ("clintune.verbs.logs:logs", "Print what a run wrote while it ran."),
    "recipes": ("clintune.verbs.recipes:recipes", "List the recipes that come with clintune."),
    "show": ("clintune.verbs.show:show", "Print the composed config of a recipe."),
    "cache": ("clintune.verbs.cache:cache", "List what is kept between runs, or clear it."),
}
_LIGHT = ("runs", "logs", "recipes", "show", "cache")
"""Verbs that import neither torch nor polars."""
_FOR_OTHERS = ("publish", "export")
"""Verbs whose results others may read, as the user's umask says.

What all other verbs write, only its owner may read.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    show_any_text()

    # BaseException also holds a signal, Ctrl-C, and a panic of a library in Rust.
    try:
        install_signal_handlers()
        code = _run(*arguments)
        if sys.stdout is not None:  # it is None if it was closed before we began
            sys.stdout.flush()
        return code
    except SystemExit:
        raise
    except BaseException as error:
        ignore_signals()  # the command ends already, and says why
        return _explain(error)
    finally:
        ignore_signals()  # no signal may disturb the end of Python either
        _drop_unwritten()


def say(message: str, *, follows: bool = False) -> None:
    """Say in one line why the command ends: on stderr, or to the launcher of this process."""
    line = visible(message)
    if not report_to_launcher(line, follows=follows):
        with suppress(OSError, ValueError):  # nobody reads it, or its disk is full
            print(f"clintune: {line}", file=sys.stderr, flush=True)


def usage() -> str:
    """Return the help page, with one line for each verb."""
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
    if reader_is_gone(error):
        return 128 + signal.SIGPIPE
    if os.environ.get("CLINTUNE_DEBUG"):
        traceback.print_exception(error)

    # Errors of our own, then a process that fails because another one did, then all others.
    if isinstance(error, StoppedError):
        say(str(error))
        return 128 + error.signal
    if isinstance(error, ClintuneError):
        say(own_words(error))
        return 1 if isinstance(error, TrainingError | StorageError) else 2
    if is_collateral_failure(error):
        say("another process of the job ended; see what it said", follows=True)
        return 128 + signal.SIGTERM
    say(unexpected(error))
    return 1


def _run(verb: str = "--help", *arguments: str) -> int:
    if verb in {"-h", "--help", "help"}:
        print(usage())
        return 0
    if verb in {"-V", "--version"}:
        print(f"clintune {__version__}")
        return 0
    if verb not in VERBS:
        raise ConfigError(f"verb '{verb}' does not exist{nearest(verb, VERBS)}")

    # Say so before libraries are imported that may end the process without a word.
    if verb not in _LIGHT and tight_memory():
        say(
            f"note: `ulimit -v` allows {address_space() / 1e9:.1f} GB of memory; "
            "torch and polars may need more of it"
        )
    module, _, function = VERBS[verb][0].partition(":")
    with nullcontext() if verb in _FOR_OTHERS else private_files():
        getattr(importlib.import_module(module), function)(list(arguments))
    return 0


def unexpected(error: BaseException) -> str:
    """Describe an unforeseen error by type and place only: its message may hold patient data."""
    if (reason := outside_reason(error)) is not None:
        return reason
    if (fault := users_fault(error)) is not None:
        return f"your module {fault}; CLINTUNE_DEBUG=1 shows its message"
    return (
        f"unexpected {type(error).__name__} in {place(error)}; the message is withheld because it "
        "may hold patient data: run again with CLINTUNE_DEBUG=1 to see it, and please report it"
    )


def _drop_unwritten() -> None:
    """Drop what a stream cannot write, so that Python does not fail on it at its end."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


if __name__ == "__main__":
    sys.exit(main())
