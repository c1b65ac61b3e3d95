"""Verbs that work on a run: train and evaluate. Torch is imported only after the config was found right."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from clintune.config.check import check_config
from clintune.config.compose import compose_recipe
from clintune.config.moved import moved
from clintune.config.overrides import sweep
from clintune.config.recipes import find_recipe
from clintune.config.suggest import nearest
from clintune.core.errors import ConfigError
from clintune.core.text import visible
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
        configs = [_change(run, before, overrides)]
        if is_finished(run, before):
            print(f"{run} is finished; nothing is left to do", file=sys.stderr)
            print(run)
            return
    else:
        recipe = find_recipe(arguments.recipe)
        jobs = sweep(arguments.words) if arguments.multirun else [arguments.words]
        configs = [compose_recipe(recipe, overrides) for overrides in jobs]

    for config in configs:
        check_beforehand(config, "train")
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


def _check_key(config: DictConfig, key: str) -> None:
    """Raise ConfigError, with the nearest name, for a key that a config does not have and cannot get."""
    node: Any = config
    for name in key.split("."):
        if not isinstance(node, DictConfig):
            return
        if name not in node and OmegaConf.get_type(node) is not dict:
            raise ConfigError(
                f"--resume: key '{visible(key)}' does not exist{nearest(name, map(str, node))}"
            )
        node = node.get(name)


def _change(run: Path, before: DictConfig, overrides: Sequence[str]) -> DictConfig:
    """Apply overrides to the config of a run that goes on; print what differs from what it was started with."""
    config = before
    for override in overrides:
        try:
            if "=" not in override or override.startswith(("+", "~")):
                raise ConfigError(
                    f"--resume: '{visible(override)}' is no KEY=VALUE with a key of recipe.yaml"
                )
            _check_key(before, override.partition("=")[0])
            config = OmegaConf.merge(config, OmegaConf.from_dotlist([override]))  # type: ignore[assignment]
            OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
        except (OmegaConfBaseException, YAMLError) as error:
            key = override.partition("=")[0]
            is_group = key in before and isinstance(before[key], DictConfig)
            remedy = (
                f"give one of its keys, as {key}.KEY=VALUE"
                if is_group
                else "use KEY=VALUE with a key of it"
            )
            raise ConfigError(
                f"--resume: override '{visible(override)}' does not fit recipe.yaml; {remedy}"
            ) from error

    check_config(config, "--resume")
    changes = check_changes(run, before, config)
    for key, (was, now) in {} if init_rank() else changes.items():
        print(f"{key}: {was} -> {now}", file=sys.stderr)
    return config
