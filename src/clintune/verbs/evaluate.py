"""The verb that evaluates a run.

Torch is imported only after the config was found right.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from clintune.config.moved import moved
from clintune.config.schema import Config
from clintune.core.errors import ConfigError
from clintune.experiment.resume import held, run_config
from clintune.launch.local import start_processes
from clintune.launch.memory import collector_paused
from clintune.launch.processes import init_rank, is_main
from clintune.verbs.arguments import Parser, at_least, run_folder, verb_parser
from clintune.verbs.beforehand import check_folders, check_packages


def evaluate(argv: Sequence[str]) -> None:
    """Score a run on its held-out subjects."""
    arguments = _parser().parse_intermixed_args(argv)
    run = run_folder(arguments.run)
    against = None if arguments.against is None else run_folder(arguments.against)
    if against is not None and against.resolve() == run.resolve():
        raise ConfigError(
            f"evaluate: --against {arguments.against} is the run itself; name another one"
        )
    config = moved(run_config(run), arguments.words, "evaluate")
    check_folders(config, "evaluate")

    if not init_rank() and arguments.processes > 1:
        check_packages(run, config)
        start_processes(["evaluate", *argv], arguments.processes, run / "logs")
        return

    evaluate_held(
        run,
        config,
        replicates=arguments.bootstrap,
        ablate_modalities=not arguments.no_ablations,
        against=against,
        places=arguments.words,
    )
    if is_main():
        print(run)


def evaluate_held(run: Path, config: Config, **settings: Any) -> None:
    """Evaluate a run with the settings of `evaluate_run`, while no other job may use it."""
    # Held before the check: a run that is still being trained lacks a package, too.
    with held(run, "evaluated"):
        check_packages(run, config)
        with collector_paused():
            from clintune.evaluation.evaluate import evaluate_run

        evaluate_run(run, **settings)


def _parser() -> Parser:
    """Return the parser of the verb's arguments."""
    parser = verb_parser(
        "evaluate",
        "Score a run on its held-out subjects; the last line printed is the run folder.",
        subject="run",
        meaning="folder of a run that has been trained",
        words="where data stand now: cohorts.NAME.root=FOLDER, data.cache=FOLDER; "
        "other analyses: evaluation=[NAME,...]",
    )

    parser.add_argument(
        "--bootstrap",
        type=at_least(10),
        default=1000,
        metavar="N",
        help="resamples of the intervals (default 1000)",
    )
    parser.add_argument(
        "--no-ablations",
        action="store_true",
        help="leave out each modality alone and each left out",
    )
    parser.add_argument(
        "--against", metavar="RUN", help="compare with another evaluated run, paired by subject"
    )
    parser.add_argument(
        "--processes",
        type=at_least(1),
        default=1,
        metavar="N",
        help="processes that share the samples",
    )
    return parser
