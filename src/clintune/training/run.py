"""A run: from a config to a run folder with checkpoints, history and adapter packages."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from clintune.config.compose import to_yaml
from clintune.core.files import write_json, write_text
from clintune.core.paths import writable_folder
from clintune.package import member_folders, write_package
from clintune.training.card import card
from clintune.training.fit import fit_member
from clintune.training.history import History
from clintune.training.launch import make_accelerator
from clintune.training.partition import split_of, units, write_splits
from clintune.training.provenance import check_data, provenance
from clintune.training.tracking import Tracker
from clintune.training.workspace import Workspace, console, open_workspace


def train_run(config: DictConfig, run: Path | None = None) -> Path | None:
    """Train every member of every unit of a run that is not packaged yet; return the run folder.

    With `run`, go on where that run stopped. Processes other than the main one return None. Raises what the data,
    the weights and the loop raise.
    """
    if run is None:
        writable_folder(config.runs, "runs")  # before hours are spent on what could not be written
    accelerator = make_accelerator(config.trainer)
    workspace = open_workspace(config)
    if run is None:
        run = _start(workspace, accelerator)
    else:
        check_data(run, workspace)
        if accelerator.is_main_process:
            write_text(run / "recipe.yaml", to_yaml(config))  # overrides of the resume count from here on
    tracker = _tracker(config, run) if accelerator.is_main_process else None
    history = History(run / "history.jsonl", tracker)
    for unit in units(config, run, workspace.samples):
        split = split_of(config, workspace.samples, unit)
        if accelerator.is_main_process:
            write_splits(unit.folder / "splits.parquet", workspace.samples, split)
        for member, folder in enumerate(member_folders(unit.folder / "package", config.ensemble)):
            if not folder.exists():
                package, seed = fit_member(workspace, unit, member, split, accelerator, history, run)
                if accelerator.is_main_process:
                    write_package(folder, package, seed, card(config))
            accelerator.wait_for_everyone()
    if tracker is not None:
        tracker.finish()
    return run if accelerator.is_main_process else None


def _start(workspace: Workspace, accelerator: Accelerator) -> Path:
    """Make the run folder on the main process and tell the others."""
    config = workspace.config
    run = Path()
    if accelerator.is_main_process:
        run = _new_folder(Path(config.runs) / config.name)
        write_json(run / "provenance.json", provenance(workspace))
        write_text(run / "recipe.yaml", to_yaml(config))  # last: a folder that has it can be resumed
        console.print(f"run folder {run}")
    shared: list[Any] = [str(run)]
    broadcast_object_list(shared)
    return Path(shared[0])


def _new_folder(parent: Path) -> Path:
    """Make a folder named by the time in UTC; a second run within a second waits its turn as -1, -2, ..."""
    parent.mkdir(parents=True, exist_ok=True)
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    number = 0
    while True:
        folder = parent / (f"{stamp}-{number}" if number else stamp)
        try:
            folder.mkdir()
        except FileExistsError:
            number += 1
        else:
            return folder


def _tracker(config: DictConfig, run: Path) -> Tracker:
    settings = OmegaConf.to_container(config, resolve=True)
    tracker: Tracker = instantiate(config.tracker, _partial_=True)(
        folder=run, name=f"{config.name}-{run.name}", settings=settings
    )
    return tracker
