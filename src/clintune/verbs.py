"""The verbs: read arguments, check the config, then import what does the work.

Torch is imported only after the config was found right, so that a mistake is answered at once.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from clintune.config.check import check_config
from clintune.config.compose import compose_recipe, load_config, to_yaml
from clintune.config.recipes import find_recipe, shipped_recipes, summary
from clintune.config.sweep import sweep
from clintune.core.errors import ConfigError
from clintune.core.garbage import collector_paused
from clintune.training.processes import find_rank, is_main, start_processes
from clintune.training.run_list import list_runs, print_logs


def train(argv: Sequence[str]) -> None:
    """Fine-tune the model of a recipe, or resume a run: here, in several processes, or as a job of SLURM."""
    parser = _recipe_parser("train", "Fine-tune the model of a recipe; the last line printed is the run folder.")
    parser.add_argument("-m", "--multirun", action="store_true", help="sweep: KEY=A,B trains one run a value")
    parser.add_argument("--dry-run", action="store_true", help="build everything, print parts and sizes, train nothing")
    parser.add_argument("--resume", action="store_true", help="RECIPE is the folder of a run that was stopped: go on")
    parser.add_argument("--wait", action="store_true", help="with cluster=slurm: follow the job until it ends")
    arguments = parser.parse_intermixed_args(argv)
    run = None
    if arguments.resume:
        if arguments.multirun or arguments.dry_run:
            raise ConfigError("--resume goes with neither --multirun nor --dry-run; resume the runs one by one")
        run = run_folder(arguments.recipe)
        configs = [_change(load_config(run / "recipe.yaml"), arguments.overrides)]
    else:
        recipe = find_recipe(arguments.recipe)
        jobs = sweep(arguments.overrides) if arguments.multirun else [arguments.overrides]
        configs = [compose_recipe(recipe, overrides) for overrides in jobs]

    if arguments.dry_run:
        from clintune.training.describe import describe

        for config in configs:
            describe(config)
    else:
        from clintune.training.start import start

        start(configs, run, wait=arguments.wait)


def evaluate(argv: Sequence[str]) -> None:
    """Score a run."""
    parser = argparse.ArgumentParser(
        prog="clintune evaluate",
        description="Score a run on its held-out subjects; the last line printed is the run folder.",
    )
    parser.add_argument("run", metavar="RUN", help="folder of a run that has been trained")
    parser.add_argument(
        "--bootstrap", type=int, default=1000, metavar="N", help="resamples of the intervals (default 1000)"
    )
    parser.add_argument("--no-ablations", action="store_true", help="leave out each modality alone and each left out")
    parser.add_argument("--against", metavar="RUN", help="compare with another evaluated run, paired by subject")
    parser.add_argument("--processes", type=int, default=1, metavar="N", help="processes that share the samples")
    arguments = parser.parse_args(argv)
    run = run_folder(arguments.run)
    against = None if arguments.against is None else run_folder(arguments.against)
    load_config(run / "recipe.yaml")
    if not find_rank() and arguments.processes > 1:
        start_processes(["evaluate", *argv], arguments.processes, run / "logs")
        return

    with collector_paused():
        from clintune.evaluation.evaluate import evaluate_run

    evaluate_run(run, replicates=arguments.bootstrap, ablate_modalities=not arguments.no_ablations, against=against)
    if is_main():
        print(run)


def runs(argv: Sequence[str]) -> None:
    """List runs and how they stand."""
    parser = argparse.ArgumentParser(prog="clintune runs", description="List runs, the newest last.")
    parser.add_argument("folder", nargs="?", default="runs", metavar="FOLDER", help="where they are (default: runs)")
    list_runs(Path(parser.parse_args(argv).folder))


def logs(argv: Sequence[str]) -> None:
    """Print the logs of a run."""
    parser = argparse.ArgumentParser(prog="clintune logs", description="Print what a run wrote while it ran.")
    parser.add_argument("run", metavar="RUN", help="folder of a run")
    print_logs(run_folder(parser.parse_args(argv).run))


def recipes(argv: Sequence[str]) -> None:
    """List the shipped recipes with one line each."""
    argparse.ArgumentParser(
        prog="clintune recipes", description="List the recipes that come with clintune."
    ).parse_args(argv)
    found = shipped_recipes()
    width = max(map(len, found), default=0)
    for name, path in found.items():
        print(f"{name:<{width}}  {summary(path)}")


def show(argv: Sequence[str]) -> None:
    """Print the composed config of a recipe."""
    arguments = _recipe_parser("show", "Print the composed config of a recipe.").parse_args(argv)
    print(to_yaml(compose_recipe(find_recipe(arguments.recipe), arguments.overrides)), end="")


def cache(argv: Sequence[str]) -> None:
    """List or clear the cache."""
    parser = argparse.ArgumentParser(prog="clintune cache", description="List what is kept between runs, or clear it.")
    default = os.environ.get("CLINTUNE_CACHE", "~/.cache/clintune")
    parser.add_argument("folder", metavar="FOLDER", nargs="?", default=default, help=f"data.cache (default {default})")
    parser.add_argument("--clear", action="store_true", help="remove what no process is using")
    parser.add_argument("--older-than", type=float, metavar="DAYS", help="clear only what was not used for so long")
    arguments = parser.parse_args(argv)
    folder = Path(arguments.folder).expanduser()
    if arguments.older_than is not None and not arguments.clear:
        raise ConfigError("--older-than says what --clear removes; give both")
    if not folder.is_dir():
        raise ConfigError(f"cache {folder}: not a folder; give the `data.cache` of a recipe")

    from clintune.core import cache_folder

    if arguments.clear:
        gone = cache_folder.clear(folder, arguments.older_than or 0.0)
        left = len(cache_folder.entries(folder))
        print(f"freed {sum(entry.size for entry in gone) / 1e9:.3f} GB: {len(gone)} entries; {left} are left")
    else:
        cache_folder.show(folder)


def run_folder(name: str) -> Path:
    """Return the folder of a run; ConfigError when it is not one."""
    folder = Path(name)
    if not (folder / "recipe.yaml").is_file():
        raise ConfigError(f"run {name}: no recipe.yaml there; give the folder that `clintune train` printed")
    return folder


def _recipe_parser(verb: str, description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"clintune {verb}", description=description)
    parser.add_argument("recipe", metavar="RECIPE", help="name of a recipe (`clintune recipes`) or path of your own")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="Hydra overrides, as in trainer.max_steps=50")
    return parser


def _change(config: DictConfig, overrides: Sequence[str]) -> DictConfig:
    """Apply overrides to the config of a run that goes on; print what differs from what it was started with."""
    for override in overrides:
        key, _, value = override.partition("=")
        try:
            was = OmegaConf.select(config, key, throw_on_missing=True)
            changed = OmegaConf.from_dotlist([f"{key}={value}"])
            config = OmegaConf.merge(config, changed)  # type: ignore[assignment]
        except OmegaConfBaseException as error:
            raise ConfigError(
                f"--resume: override '{override}' does not fit the recipe; use KEY=VALUE with a key of recipe.yaml"
            ) from error
        print(f"{key}: {was} -> {value}", file=sys.stderr)
    check_config(config, "--resume")
    return config
