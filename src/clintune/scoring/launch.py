"""Start a scoring job: in this process, in several of this machine, or as a job of SLURM."""

from pathlib import Path

from clintune.config.schema import Cluster
from clintune.core.console import console
from clintune.core.errors import ConfigError
from clintune.launch.local import start_processes
from clintune.launch.memory import collector_paused
from clintune.launch.processes import is_main, is_worker
from clintune.launch.slurm import Work, processes_a_node
from clintune.scoring.job_folder import SUMMARY
from clintune.training.launch import send


def start_job(out: Path, cluster: Cluster, *, wait: bool) -> None:
    """Score what is left of the job in a folder, and print the folder.

    A finished job is only named. A process that a launcher or a job of SLURM started scores here.
    Raises ConfigError for a cluster that cannot be used.
    """
    if (out / SUMMARY).exists():
        console.print(f"{out} is finished; nothing is left to do")
        print(out)
        return

    # As a job of SLURM.
    words = ["predict", "--resume", str(out)]
    if cluster.kind == "slurm" and not is_worker():
        send("predict", cluster, [Work([*words[:-1], str(out.resolve())], out)], wait=wait)
        return
    if wait:
        raise ConfigError("--wait follows a job; it goes with cluster=slurm")

    # In several processes of this machine.
    with collector_paused():
        from clintune.launch.device import check_gpus

    check_gpus(cluster)
    processes = processes_a_node(cluster)
    if processes > 1 and not is_worker():
        start_processes(words, processes, out / "logs")
        return

    # In this process.
    with collector_paused():
        from clintune.scoring.score_shards import score_job

    score_job(out)
    if is_main():
        print(out)
