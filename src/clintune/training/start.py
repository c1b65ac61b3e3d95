"""Start runs where their config says: in this process, in several of this machine, or as a job of SLURM."""

from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

from clintune.core.errors import ConfigError
from clintune.core.garbage import collector_paused
from clintune.training.processes import is_placed, start_processes


def start(configs: Sequence[DictConfig], run: Path | None, *, wait: bool) -> None:
    """Train each config, the first in `run` where it goes on with one; print the run folders.

    A process that a launcher or a job started trains here. Raises ConfigError for a cluster that cannot be.
    """
    if configs[0].cluster.kind == "slurm" and not is_placed():
        _submit(configs, run, wait)
        return
    if wait:
        raise ConfigError("--wait follows a job; it goes with cluster=slurm")
    with collector_paused():
        from clintune.training.run import new_run, train_run

    for config in configs:
        processes = config.cluster.processes or max(1, config.cluster.gpus_per_node)
        if is_placed() or processes == 1:
            if (done := train_run(config, run)) is not None:
                print(done)
            continue
        folder = run or new_run(config)
        start_processes(["train", "--resume", str(folder)], processes, folder / "logs")


def _submit(configs: Sequence[DictConfig], run: Path | None, wait: bool) -> None:
    if wait and len(configs) > 1:
        raise ConfigError("--wait follows one job; a sweep is many: see `clintune runs`")
    with collector_paused():
        from clintune.training.run import new_run
        from clintune.training.slurm import follow, submit

    runs = [run] if run else [new_run(config) for config in configs]
    for job, folder in zip(submit(configs, runs), runs, strict=True):
        print(f"job {job}, logs with `clintune logs {folder}`")
        if wait:
            follow(folder, job)
        print(folder)
