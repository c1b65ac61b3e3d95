"""The verb that trains a run, or resumes one.

Torch is imported only after the config was found right.
"""

import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from clintune.config.compose import compose_recipe
from clintune.config.moved import changed
from clintune.config.overrides import sweep
from clintune.config.recipes import find_recipe
from clintune.config.schema import Config
from clintune.core.errors import ConfigError
from clintune.experiment.resume import check_changes, is_finished, run_config
from clintune.experiment.run_list import print_sweep
from clintune.launch.processes import init_rank, is_main
from clintune.verbs.arguments import one_recipe, read_resumable, recipe_parser, run_folder
from clintune.verbs.beforehand import check_beforehand, check_runs


def train(argv: Sequence[str]) -> None:
    """Fine-tune the model of a recipe, or resume a run.

    It runs here, in several processes, or as a job of SLURM.
    """
    arguments = _read(argv)
    if arguments.resume:
        _resume(arguments)
    else:
        _train_anew(arguments)


def _read(argv: Sequence[str]) -> Namespace:
    """Return the arguments of the verb; raise ConfigError for `--resume` without a run."""
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
    go_on = "clintune train --resume RUN (`clintune runs` lists them)"
    return read_resumable(parser, argv, "a run", go_on)


def _train_anew(arguments: Namespace) -> None:
    """Train the run of a recipe, the runs of a sweep, or none in a dry run."""
    one_recipe("train", arguments.words)
    recipe = find_recipe(arguments.recipe)
    jobs = sweep(arguments.words) if arguments.multirun else [arguments.words]
    configs = [compose_recipe(recipe, overrides) for overrides in jobs]
    for config in configs:
        check_beforehand(config)
        check_runs(config.runs, make=not arguments.dry_run)

    if arguments.dry_run:
        from clintune.training.dry_run import dry_run

        for config in configs:
            dry_run(config)
        return

    from clintune.training.launch import start

    runs = start(configs, None, wait=arguments.wait)
    if arguments.multirun and is_main():
        settings = map(" ".join, jobs)
        print_sweep(dict(zip(runs, settings, strict=True)))


def _resume(arguments: Namespace) -> None:
    """Go on with a run; one that is finished is only named."""
    if arguments.multirun or arguments.dry_run:
        raise ConfigError(
            "--resume goes with neither --multirun nor --dry-run; resume the runs one by one"
        )
    texts = (word for word in arguments.words if "=" not in word)
    if folders := [word for word in texts if Path(word).expanduser().is_dir()]:
        raise ConfigError(
            "--resume takes the folder of a run in place of the recipe: "
            f"clintune train --resume {folders[0]}"
        )

    run = run_folder(arguments.recipe)
    before = run_config(run)
    config = changed(before, arguments.words, "--resume")
    _print_changes(run, before, config)
    if is_finished(run, before):
        print(f"{run} is finished; nothing is left to do", file=sys.stderr)
        print(run)
        return

    check_beforehand(config)
    from clintune.training.launch import start

    start([config], run, arguments.words, wait=arguments.wait)


def _print_changes(run: Path, before: Config, now: Config) -> None:
    """Print what a resume changes in the config of a run, once for all processes."""
    for key, (was, is_now) in check_changes(run, before, now).items():
        if not init_rank():
            print(f"{key}: {was} -> {is_now}", file=sys.stderr)
