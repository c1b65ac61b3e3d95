"""Jobs of SLURM: submit them (several runs as one array), run their processes, follow a job."""

import os
import runpy
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from shlex import quote
from shutil import which
from typing import Any, NamedTuple

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from clintune.config.schema import Cluster
from clintune.core.console import console
from clintune.core.errors import ConfigError, StoppedError, TrainingError
from clintune.launch.processes import enter_job
from clintune.launch.signals import install_signal_handlers
from clintune.launch.status import Status, read_status

_SIGNAL = "USR1"
_POLL_SECONDS = 2
_UNFINISHED = frozenset({"queued", "running", "preempted"})


class Work(NamedTuple):
    """What each process of a job runs, `clintune WORDS`; status and logs stand in `folder`."""

    words: list[str]
    folder: Path


def processes_a_node(cluster: Cluster) -> int:
    """Return how many processes a job has on each machine."""
    return int(cluster.processes or max(1, cluster.gpus_per_node))


def submit(name: str, cluster: Cluster, works: Sequence[Work]) -> list[str]:
    """Submit a job for each work, several as one array, and return their ids.

    A job is called after `name`. Raises ConfigError where SLURM or submitit is missing, or SLURM
    refuses the job.
    """
    try:
        from submitit import SlurmExecutor
        from submitit.core.utils import FailedJobError
    except ImportError as error:
        raise ConfigError("cluster=slurm needs submitit; pip install 'clintune[slurm]'") from error
    if which("sbatch") is None:
        raise ConfigError(
            "cluster=slurm: sbatch is not on this machine; "
            "run on a login node, or use cluster=local"
        )

    folders = [work.folder.resolve() for work in works]
    logs = folders[0] / "logs" if len(works) == 1 else folders[0].parent / f"{folders[0].name}-logs"
    executor = SlurmExecutor(folder=logs, python="python3" if cluster.container else None)
    executor.update_parameters(**_parameters(name, cluster, logs))

    try:
        with executor.batch():
            jobs = [executor.submit(run_words, work.words, str(logs)) for work in works]
    except (FailedJobError, subprocess.CalledProcessError) as error:
        raise ConfigError(
            f"cluster=slurm: SLURM refused the job ({_reason(error)}); correct cluster.*"
        ) from error

    ids = [str(job.job_id) for job in jobs]
    # A job that starts at once has written its own status by now, which is newer.
    for job, folder in zip(ids, folders, strict=True):
        if read_status(folder) is None:
            Status(state="queued", job=job, logs=str(logs / f"{job}_*_log.*"), pid=0).write(folder)
    return ids


def run_words(words: Sequence[str], logs: str) -> None:
    """Run the command line in a process of a job, and end the process with its exit code.

    The code of a failure is also written to a file in `logs`: srun ends the other processes by a
    signal, and then itself as if the job had been preempted.
    """
    # These replace submitit's handlers, which would not let the current step end.
    install_signal_handlers()
    enter_job()
    sys.argv[1:] = words

    try:
        runpy.run_module("clintune.cli", run_name="__main__")
    except SystemExit as end:
        if end.code in {1, 2}:
            name = f"{os.environ['SLURM_JOB_ID']}.{os.environ.get('SLURM_RESTART_COUNT', 0)}.failed"
            (Path(logs) / name).write_text(str(end.code))
        raise


def follow(run: Path, job: str) -> None:
    """Show the progress of a job until its run ends; Ctrl-C ends this display, not the job.

    Raises TrainingError with the run's own error where the run failed.
    """
    try:
        status = _watch(run, job)
    except StoppedError as error:
        error.when = f", but job {job} was not"
        error.again = f"clintune runs {quote(str(run.parent))}"
        raise

    if status.state == "failed":
        raise TrainingError(f"job {job}: {status.error or 'failed'}; see `clintune logs {run}`")


def _watch(run: Path, job: str) -> Status:
    """Show the progress of a job until its run ends, and return its last status."""
    # A bar on a terminal, a line for each new state elsewhere.
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    said = ""

    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        line = bar.add_task(f"job {job}", total=None)
        while (status := read_status(run)) is None or status.state in _UNFINISHED:
            if status is not None:
                where = f"job {job} {status.state} {status.part}".strip()
                total = status.num_steps or None
                bar.update(line, description=where, completed=status.step, total=total)

                if where != said:
                    console.note(where)
                    said = where
            time.sleep(_POLL_SECONDS)
    return status


def _parameters(name: str, cluster: Cluster, logs: Path) -> dict[str, Any]:
    """Return what submitit writes into the job's script."""
    inside = ["--container-image", cluster.container] if cluster.container else []
    inside += ["--container-mounts", cluster.mounts] if cluster.mounts else []

    # A time limit, a preemption or a dead node ends the processes by a signal: then the job queues
    # again, unless a process reported a failure.
    again = (
        "code=$?",
        f"failed={quote(str(logs))}/$SLURM_JOB_ID.${{SLURM_RESTART_COUNT:-0}}.failed",
        '[ ! -e "$failed" ] || exit "$(cat "$failed")"',
        f'if [ $code -ge 128 ] && [ "${{SLURM_RESTART_COUNT:-0}}" -lt {cluster.max_requeues} ] '
        '&& [ "$(squeue --noheader --jobs $SLURM_JOB_ID --format %T)" = RUNNING ]; then',
        "  scontrol requeue $SLURM_JOB_ID",
        "fi",
        "exit $code",
    )

    asked = {
        "job_name": f"clintune-{name}",
        "nodes": cluster.nodes,
        "ntasks_per_node": processes_a_node(cluster),
        "gpus_per_node": cluster.gpus_per_node or None,
        "cpus_per_task": cluster.cpus_per_process,
        "mem": cluster.memory,
        "partition": cluster.partition,
        "account": cluster.account,
        "qos": cluster.qos,
        "constraint": cluster.constraint,
        "setup": list(cluster.setup) or None,
        "teardown": list(again),
        "srun_args": ["--kill-on-bad-exit=1", *inside],
        "additional_parameters": {"signal": f"{_SIGNAL}@{cluster.warn_seconds}", "requeue": True},
    }

    # Without a time of its own a job gets that of the partition, not submitit's five minutes.
    stated = {key: value for key, value in asked.items() if value is not None}
    return stated | {"time": cluster.time}


def _reason(error: Exception) -> str:
    """Return the line of an error's text that says most, or its kind where there is no text."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    last = lines[-1] if lines else type(error).__name__
    return next((line for line in lines if "error" in line.lower()), last)
