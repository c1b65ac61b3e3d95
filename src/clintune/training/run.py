"""A run: from a config to a run folder with checkpoints, history and adapter packages."""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from hydra.utils import instantiate

from clintune.config.schema import Config
from clintune.config.typed import to_yaml
from clintune.core.console import console
from clintune.core.errors import PackageError
from clintune.core.files import storing, write_json, write_text
from clintune.core.paths import timed_folder, writable_folder
from clintune.experiment.fold_data import UNREADABLE, FoldData, prepare_fold, report_limits
from clintune.experiment.folds import Fold, folds, write_splits
from clintune.experiment.open import Experiment, open_experiment
from clintune.experiment.provenance import check_data, note_changed_modules, provenance
from clintune.experiment.resume import Resumption, held
from clintune.launch.device import check_device, local_device, make_accelerator, on_this_machine
from clintune.launch.memory import keep_freed_memory
from clintune.launch.processes import is_main, num_processes
from clintune.launch.signals import install_signal_handlers
from clintune.launch.status import StatusWriter, reported, resumable
from clintune.package.manifest import MANIFEST
from clintune.package.write import write_package
from clintune.training.card import card
from clintune.training.history import History
from clintune.training.tracking import Tracker
from clintune.training.train_member import members, train_member


def train_run(config: Config, run: Path | None = None) -> Path | None:
    """Train every member of every fold of a run that is not packaged yet; return the run folder.

    With `run`, begin or go on in that folder, which no other job may hold. What can take long,
    index and caches, is done before the processes meet. Processes other than the main one return
    None. Raises what the data, the weights and the loop raise; StoppedError after a signal.
    """
    install_signal_handlers()
    check_device(config.strategy, config.trainer)
    if local_device().type == "cpu":
        keep_freed_memory()

    with ExitStack() as stack:
        report = _hold(stack, run) if run else None
        if run is None:
            # Fail before hours are spent on what could not be written.
            writable_folder(config.runs, "runs")

        # Open the data; one process alone makes the run folder at once.
        experiment = open_experiment(on_this_machine(config))
        config = experiment.config  # its precision and paths are what the recipe keeps
        is_new = run is None or not (run / "provenance.json").exists()
        if run is not None and not is_new:
            check_data(run, experiment)
            note_changed_modules(run, experiment.config)
        if run is None and num_processes() == 1:
            run = new_run(config)
        if report is None and run is not None:
            report = _hold(stack, run)

        # Preprocess each fold, then let the processes meet.
        unfinished = _unfinished(experiment, run)
        fold_data = {fold.seed_parts: prepare_fold(experiment, fold, run) for fold in unfinished}
        accelerator = make_accelerator(config.trainer)
        if run is None:
            run = _agree(config, accelerator)
        if report is None:
            report = _hold(stack, run)

        if accelerator.is_main_process:
            stack.enter_context(console.copied_to(run / "logs" / "messages.log"))
            if is_new:
                _write_recipe(experiment, run)

        # Train.
        resumption = None if is_new else Resumption(run, config)
        _train_folds(experiment, run, fold_data, accelerator, report, resumption)

    return run if accelerator.is_main_process else None


def _hold(stack: ExitStack, run: Path) -> StatusWriter:
    """Hold the run for this job and report how it stands, until the stack is left."""
    stack.enter_context(held(run, "trained"))
    stack.enter_context(resumable("train", "--resume", str(run)))
    return stack.enter_context(reported(run, is_main()))


def new_run(config: Config) -> Path:
    """Make the folder of a new run, with its recipe: it can be resumed from here on."""
    run = timed_folder(writable_folder(config.runs, "runs") / config.name)
    write_text(run / "recipe.yaml", to_yaml(config))
    console.print(f"run folder {run}")
    return run


def _write_recipe(experiment: Experiment, run: Path) -> None:
    """Write the recipe of a new run, and what its data and software are."""
    write_text(run / "recipe.yaml", to_yaml(experiment.config))
    (run / UNREADABLE).unlink(missing_ok=True)  # of a start that was refused
    write_json(run / "provenance.json", provenance(experiment, run / "recipe.yaml"))


def _unfinished(experiment: Experiment, run: Path | None) -> list[Fold]:
    """Return the folds that lack a package; before a run has a folder, all of them."""
    everything = folds(experiment.config, run or Path(), experiment.samples)
    if run is None:
        return everything
    return [fold for fold in everything if not _is_packaged(experiment.config, fold)]


def _is_packaged(config: Config, fold: Fold) -> bool:
    """Return whether all members of a fold have their package.

    Raises PackageError for a package without its manifest.
    """
    packages = [member.package for member in members(config, fold)]
    for package in packages:
        if package.exists() and not (package / MANIFEST).is_file():
            raise PackageError(
                f"{package}: {MANIFEST} is missing; restore the package, or remove it and resume"
            )
    return all(package.exists() for package in packages)


def _agree(config: Config, accelerator: Accelerator) -> Path:
    """Make the run folder on the main process and tell the others."""
    shared: list[Any] = [str(new_run(config)) if accelerator.is_main_process else ""]
    broadcast_object_list(shared)
    return Path(shared[0])


def _train_folds(
    experiment: Experiment,
    run: Path,
    fold_data: Mapping[tuple[int, int], FoldData],
    accelerator: Accelerator,
    report: StatusWriter,
    resumption: Resumption | None,
) -> None:
    """Train the folds that were preprocessed, under the recipe's tracker."""
    config = experiment.config
    tracker = _tracker(config, run) if accelerator.is_main_process else None
    history = History(run / "history.jsonl", tracker, report, resumption)
    for fold in folds(config, run, experiment.samples):
        if fold.seed_parts in fold_data:
            ready = fold_data[fold.seed_parts]
            _train_fold(experiment, fold, ready, accelerator, history, run)

    if tracker is not None:
        with storing(run):
            tracker.finish()


def _train_fold(
    experiment: Experiment,
    fold: Fold,
    ready: FoldData,
    accelerator: Accelerator,
    history: History,
    run: Path,
) -> None:
    """Train and package the members of a fold that lack a package."""
    if accelerator.is_main_process:
        report_limits(run, ready)
        write_splits(fold.folder / "splits.parquet", experiment.samples, ready.split)

    for member in members(experiment.config, fold):
        if not member.package.exists():
            package, tensors = train_member(experiment, member, ready, accelerator, history)
            if accelerator.is_main_process:
                readme = card(experiment.config)
                write_package(member.package, package, tensors, member.seed, readme)
        accelerator.wait_for_everyone()


def _tracker(config: Config, run: Path) -> Tracker:
    name = f"{config.name}-{run.name}"
    with storing(run):
        make = instantiate(config.tracker, _partial_=True)
        tracker: Tracker = make(folder=run, name=name, settings=asdict(config))
    return tracker
