"""The processes of a job: who this one is among them, and how it tells its launcher why it ends. No torch here."""

import json
import os
import subprocess
import time
from pathlib import Path

_ERROR_FILE = "TORCHELASTIC_ERROR_FILE"
LAUNCHED = "CLINTUNE_LAUNCHED"
"""Set in processes whose launcher tells people what went wrong, so that they do not all say it."""


_IN_JOB = "CLINTUNE_IN_JOB"
"""Set in the processes of a job that clintune submitted: there a run trains, and is not submitted again."""


def enter_job() -> None:
    """Say that this process belongs to a job that clintune submitted."""
    os.environ[_IN_JOB] = "1"


def is_worker() -> bool:
    """Return whether this process is already where the run should train: in a job, or one of several processes."""
    return init_rank() or _IN_JOB in os.environ


def init_rank() -> bool:
    """Return whether this process is one of several (or one) that a launcher started; learn its rank from SLURM.

    torchrun and `accelerate launch` say it in the environment; of `srun` its own variables are translated.
    """
    if "RANK" in os.environ:
        return True
    if int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")) == 1 or "SLURM_PROCID" not in os.environ:
        return False
    environment = os.environ
    environment["RANK"] = environment["SLURM_PROCID"]
    environment["LOCAL_RANK"] = environment["SLURM_LOCALID"]
    environment["WORLD_SIZE"] = environment["SLURM_STEP_NUM_TASKS"]
    environment["LOCAL_WORLD_SIZE"] = (
        environment["SLURM_STEP_TASKS_PER_NODE"].partition("(")[0].partition(",")[0]
    )
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
    """Write down why this process ends, for its launcher; return whether the launcher will tell people.

    What only `follows` from the end of another process is dated later, so that the launcher names the other.
    """
    if path := os.environ.get(_ERROR_FILE):
        moment = int(time.time()) + 3600 * follows
        Path(path).write_text(
            json.dumps({"message": message, "timestamp": moment}), encoding="utf-8"
        )
    return LAUNCHED in os.environ and "RANK" in os.environ


def is_collateral_failure(error: BaseException) -> bool:
    """Return whether an error says only that another process of the job is gone."""
    signs = ("gloo", "nccl", "closed by peer", "connection reset", "broken pipe")
    return (
        num_processes() > 1
        and isinstance(error, RuntimeError)
        and any(s in str(error).lower() for s in signs)
    )


def _first_node(nodes: str) -> str:
    """Return the first host of a SLURM list such as `gpu[03-07]`."""
    listed = subprocess.run(
        ["scontrol", "show", "hostnames", nodes], capture_output=True, text=True, check=True
    )
    return listed.stdout.split()[0]
