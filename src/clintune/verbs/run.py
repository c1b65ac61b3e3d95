"""Verbs that work on a run: train and evaluate. Torch is imported only after the config was found right."""

import sys
from collections.abc import Sequence
from pathlib import Path

from clintune.config.compose import compose_recipe
from clintune.config.moved import changed, moved
from clintune.config.overrides import sweep
from clintune.config.recipes import find_recipe
from clintune.config.schema import Config
from clintune.core.errors import ConfigError
from clintune.experiment.resume import check_changes, held, is_finished, run_config
from clintune.experiment.run_list import print_sweep
from clintune.launch.local import start_processes
from clintune.launch.memory import collector_paused
from clintune.launch.processes import init_rank, is_main
from clintune.verbs.arguments import at_least, one_recipe, recipe_parser, run_folder, verb_parser
from clintune.verbs.beforehand import check_beforehand, check_folders, check_packages, check_runs


def train(argv: Sequence[str]) -> None:
    """Fine-tune the model of a recipe, or resume a run: here, in several processes, or as a job of SLURM."""
    parser = recipe_parser(
        "train", "Fine-tune the model of a recipe; the last line printed is the run folder."
    )
    parser.add_argument(
        "-m", "--multirun", action="store_true", help="sweep: KEY=A,B trains one run a value"
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="build everything, print parts and sizes, train nothing",
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="RECIPE is the folder of a run that was stopped: go on",
    )
    parser.add_argument(
        "--wait", action="store_true", help="with cluster=slurm: follow the job until it ends"
    )
    if "--resume" in argv and all(word.startswith("-") for word in argv):
        raise ConfigError(
            "--resume: name the folder of a run: clintune train --resume RUN (`clintune runs` lists them)"
        )
    arguments = parser.parse_intermixed_args(argv)
    if not arguments.resume:
        one_recipe("train", arguments.words)

    run, overrides = None, []
    if arguments.resume:
        if arguments.multirun or arguments.dry_run:
            raise ConfigError(
                "--resume goes with neither --multirun nor --dry-run; resume the runs one by one"
            )
        if folders := [
            word for word in arguments.words if "=" not in word and Path(word).expanduser().is_dir()
        ]:
            raise ConfigError(
                f"--resume takes the folder of a run in place of the recipe: clintune train --resume {folders[0]}"
            )
        run, overrides = run_folder(arguments.recipe), arguments.words
        before = run_config(run)
        configs = [_told(run, before, changed(before, overrides, "--resume"))]
        if is_finished(run, before):
            print(f"{run} is finished; nothing is left to do", file=sys.stderr)
            print(run)
            return
    else:
        recipe = find_recipe(arguments.recipe)
        jobs = sweep(arguments.words) if arguments.multirun else [arguments.words]
        configs = [compose_recipe(recipe, overrides) for overrides in jobs]

    for config in configs:
        check_beforehand(config)
        if run is None:
            check_runs(config.runs, make=not arguments.dry_run)
    if arguments.dry_run:
        from clintune.training.dry_run import dry_run

        for config in configs:
            dry_run(config)
    else:
        from clintune.training.launch import start

        runs = start(configs, run, overrides, wait=arguments.wait)
        if arguments.multirun and is_main():
            settings = map(" ".join, jobs)
            print_sweep(dict(zip(runs, settings, strict=True)))


def evaluate(argv: Sequence[str]) -> None:
    """Score a run."""
    parser = verb_parser(
        "evaluate",
        "Score a run on its held-out subjects; the last line printed is the run folder.",
        subject="run",
        meaning="folder of a run that has been trained",
        words="where data stand now: cohorts.NAME.root=FOLDER, data.cache=FOLDER",
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

    arguments = parser.parse_intermixed_args(argv)
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

    with held(run, "evaluated"):  # first: a run that is still being trained lacks a package, too
        check_packages(run, config)
        with collector_paused():
            from clintune.evaluation.evaluate import evaluate_run

        evaluate_run(
            run,
            replicates=arguments.bootstrap,
            ablate_modalities=not arguments.no_ablations,
            against=against,
            places=arguments.words,
        )
    if is_main():
        print(run)


def _told(run: Path, before: Config, now: Config) -> Config:
    """Return the config under which a run goes on; print what differs from its own."""
    for key, (was, is_now) in check_changes(run, before, now).items():
        if not init_rank():
            print(f"{key}: {was} -> {is_now}", file=sys.stderr)
    return now
