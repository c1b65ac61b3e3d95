"""Start runs where their config says: in this process, in several here, or as a job of SLURM."""

from collections.abc import Sequence
from pathlib import Path

from clintune.config.schema import Cluster, Config
from clintune.core.errors import ConfigError
from clintune.launch.local import start_processes
from clintune.launch.memory import collector_paused
from clintune.launch.processes import is_worker
from clintune.launch.slurm import Work, follow, processes_a_node, submit
from clintune.launch.status import read_status, slurm_state


def start(
    configs: Sequence[Config], run: Path | None, overrides: Sequence[str] = (), *, wait: bool
) -> list[Path]:
    """Train each config under `overrides`; print the run folders and return them.

    With `run`, the first goes on in that folder. A process that a launcher or a job started trains
    here. Raises ConfigError for a cluster that cannot be.
    """
    if configs[0].cluster.kind == "slurm" and not is_worker():
        return _submit(configs, run, overrides, wait)
    if wait:
        raise ConfigError("--wait follows a job; it goes with cluster=slurm")
    with collector_paused():
        from clintune.launch.device import check_gpus
        from clintune.training.run import new_run, train_run

    folders = []
    for config in configs:
        check_gpus(config.cluster)
        if is_worker() or processes_a_node(config.cluster) == 1:
            if (done := train_run(config, run)) is not None:
                print(done)
                folders.append(done)
            continue

        folder = run or new_run(config)
        words = ["train", "--resume", str(folder), *overrides]
        start_processes(words, processes_a_node(config.cluster), folder / "logs")
        folders.append(folder)
    return folders


def send(name: str, cluster: Cluster, works: Sequence[Work], *, wait: bool) -> None:
    """Submit a job of SLURM for each work and print its folder, followed to its end first if asked.

    Raises ConfigError as `submit` does, TrainingError with the error of a job that failed.
    """
    for job, work in zip(submit(name, cluster, works), works, strict=True):
        print(f"job {job}, logs with `clintune logs {work.folder}`")
        if wait:
            follow(work.folder, job)
        print(work.folder)


def _submit(
    configs: Sequence[Config], run: Path | None, overrides: Sequence[str], wait: bool
) -> list[Path]:
    """Submit the runs as one job array."""
    status = read_status(run) if run is not None else None
    if status and status.job is not None and slurm_state(status.job):
        raise ConfigError(
            f"{run}: is {status.state} as job {status.job}; wait for its end, or scancel it first"
        )
    if wait and len(configs) > 1:
        raise ConfigError("--wait follows one job; a sweep is many: see `clintune runs`")
    cluster = configs[0].cluster
    if any(config.cluster != cluster for config in configs):
        raise ConfigError(
            "a sweep becomes one job array, whose jobs ask for the same: do not sweep over "
            "cluster.*"
        )

    with collector_paused():
        from clintune.training.run import new_run

    runs = [run] if run else [new_run(config) for config in configs]
    works = [
        Work(["train", "--resume", str(folder.resolve()), *overrides], folder) for folder in runs
    ]
    send(configs[0].name, cluster, works, wait=wait)
    return runs
