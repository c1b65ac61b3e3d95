"""The processes of a job: the rank of this one, and its report to the launcher. No torch here."""

import json
import os
import subprocess
import time
from pathlib import Path

_ERROR_FILE = "TORCHELASTIC_ERROR_FILE"
LAUNCHED = "CLINTUNE_LAUNCHED"
"""Set in processes whose launcher reports what went wrong, so that not all of them do."""
_IN_JOB = "CLINTUNE_IN_JOB"
"""Set in the processes of a job that clintune submitted: there a run trains and submits nothing."""


def enter_job() -> None:
    """Mark this process as one of a job that clintune submitted."""
    os.environ[_IN_JOB] = "1"


def is_worker() -> bool:
    """Return whether the run should train in this process: in a job, or as one of several."""
    return init_rank() or _IN_JOB in os.environ


def init_rank() -> bool:
    """Return whether a launcher started this process, alone or with others; learn its rank.

    torchrun and `accelerate launch` set the rank in the environment. For `srun` it is translated
    from SLURM's own variables.
    """
    if "RANK" in os.environ:
        return True
    if int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")) == 1 or "SLURM_PROCID" not in os.environ:
        return False

    environment = os.environ
    environment["RANK"] = environment["SLURM_PROCID"]
    environment["LOCAL_RANK"] = environment["SLURM_LOCALID"]
    environment["WORLD_SIZE"] = environment["SLURM_STEP_NUM_TASKS"]

    tasks_a_node = environment["SLURM_STEP_TASKS_PER_NODE"]  # as in `4(x2),3`
    environment["LOCAL_WORLD_SIZE"] = tasks_a_node.partition("(")[0].partition(",")[0]
    environment.setdefault("MASTER_ADDR", _first_node(environment["SLURM_STEP_NODELIST"]))
    environment.setdefault("MASTER_PORT", str(20_000 + int(environment["SLURM_JOB_ID"]) % 20_000))
    return True


def is_main() -> bool:
    """Return whether this is the first process of the job, or the only one."""
    return os.environ.get("RANK", "0") == "0"


def num_processes() -> int:
    """Return the number of processes of the job."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def report_to_launcher(message: str, *, follows: bool = False) -> bool:
    """Write down for the launcher why this process ends; return whether the launcher tells people.

    An end that only `follows` from that of another process is dated later, so that the launcher
    names the other process.
    """
    if path := os.environ.get(_ERROR_FILE):
        moment = int(time.time()) + 3600 * follows
        report = {"message": message, "timestamp": moment}
        Path(path).write_text(json.dumps(report), encoding="utf-8")
    return LAUNCHED in os.environ and "RANK" in os.environ


def is_collateral_failure(error: BaseException) -> bool:
    """Return whether an error only says that another process of the job is gone."""
    signs = ("gloo", "nccl", "closed by peer", "connection reset", "broken pipe")
    if num_processes() <= 1 or not isinstance(error, RuntimeError):
        return False
    return any(sign in str(error).lower() for sign in signs)


def _first_node(nodes: str) -> str:
    """Return the first host of a SLURM list such as `gpu[03-07]`."""
    listed = subprocess.run(
        ["scontrol", "show", "hostnames", nodes], capture_output=True, text=True, check=True
    )
    return listed.stdout.split()[0]
