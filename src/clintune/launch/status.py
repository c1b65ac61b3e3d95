"""The status of a run: `status.json` in its folder, written as it goes, read without torch."""

import json
import os
import shlex
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import psutil
from typeguard import TypeCheckError, check_type

from clintune.core.errors import StoppedError, StorageError
from clintune.core.files import write_json
from clintune.core.outside import in_words
from clintune.launch.processes import is_collateral_failure, num_processes
from clintune.launch.signals import ignore_signals

FILE = "status.json"
STATES = ("queued", "running", "done", "failed", "preempted")
_WRITE_SECONDS = 5
_SILENT_SECONDS = 900
"""A process of another machine that wrote nothing for so long counts as dead."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Status:
    """The status of a run.

    `state` is one of STATES. Times are in seconds since 1970. `logs` is a glob. `step` of
    `num_steps` counts within the training job `part` (a fold, a member), and `best` is its best
    tuning score. `seconds` is how long the run took, summed over its starts, in each of
    `processes`.
    """

    state: str
    started: float = field(default_factory=time.time)
    updated: float = field(default_factory=time.time)
    host: str = field(default_factory=socket.gethostname)
    pid: int = field(default_factory=os.getpid)
    job: str | None = None
    logs: str | None = None
    part: str = ""
    step: int = 0
    num_steps: int = 0
    best: float | None = None
    error: str | None = None
    seconds: float = 0.0
    processes: int = 1

    def write(self, run: Path) -> None:
        """Write the status to the run folder, atomically."""
        write_json(run / FILE, asdict(self))


def read_status(run: Path) -> Status | None:
    """Return the status of a run, corrected where its process died; None where there is none."""
    status = _read(run)
    if status is None:
        return None

    if status.state == "running" and not _is_alive(status):
        error = status.error or f"its process on {status.host} died"
        return replace(status, state="failed", error=error)

    waits = status.state in {"queued", "preempted"}
    if waits and status.job is not None and slurm_state(status.job) is None:
        error = status.error or f"job {status.job} is no longer in the queue"
        return replace(status, state="failed", error=error)
    return status


class StatusWriter:
    """Keeps the status of a run up to date while it runs.

    The main process writes all of it, another process only its failure. The first failure stays:
    the end of the other processes, which the launcher then causes, does not hide it.
    """

    def __init__(self, run: Path, shown: bool) -> None:
        self.run = run
        self.shown = shown
        self.began = psutil.Process().create_time()
        self.start = time.monotonic()

        fresh = Status(
            state="running",
            job=os.environ.get("SLURM_JOB_ID"),
            logs=str(run.resolve() / "logs" / "*.log"),
        )

        # A run that goes on keeps its start, its logs and the seconds that it took before.
        known = read_status(run) or fresh
        self.status = replace(
            known,
            started=fresh.started if known.state == "queued" else known.started,
            host=fresh.host,
            pid=fresh.pid,
            job=fresh.job,
            logs=known.logs or fresh.logs,
            error=None,
            processes=num_processes(),
        )
        self.seconds_before = known.seconds

    def update(self, **changes: Any) -> None:
        """Take in changes.

        They are written every few seconds at most, but a change of state or part at once.
        """
        status = replace(self.status, **changes)
        now, before = time.time(), self.status
        changed = (status.state, status.part) != (before.state, before.part)
        urgent = changed or not (self.run / FILE).exists()
        due = urgent or now - self.status.updated >= _WRITE_SECONDS

        if self.shown and due and not self._another_failed():
            seconds = self.seconds_before + time.monotonic() - self.start
            status = replace(status, updated=now, seconds=seconds)
            status.write(self.run)
        self.status = status

    def fail(self, error: str) -> None:
        """Write why this process failed, unless another one failed before."""
        if not self._another_failed():
            known, mine = _read(self.run) or self.status, self.status
            failed = replace(known, state="failed", error=error, updated=time.time())
            replace(failed, host=mine.host, pid=mine.pid).write(self.run)

    def _another_failed(self) -> bool:
        """Return whether another process of this job failed since this one began."""
        status, mine = _read(self.run), self.status
        if status is None or status.state != "failed" or status.updated < self.began:
            return False
        return (status.host, status.pid) != (mine.host, mine.pid)


@contextmanager
def reported(run: Path, shown: bool) -> Iterator[StatusWriter]:
    """Report a run as running inside the block, and how it ended after it."""
    report = StatusWriter(run, shown)
    report.update(state="running")
    try:
        yield report
    except BaseException as error:
        ignore_signals()  # one more signal would end the process before the report of its end
        with suppress(OSError):  # a full disk must not hide the error
            _report_end(report, error)
        raise
    report.update(state="done")


@contextmanager
def resumable(*words: str) -> Iterator[None]:
    """Name `clintune WORDS` in an error that stops the block, by a signal or a disk, to go on."""
    again = shlex.join(["clintune", *words])
    try:
        yield
    except StoppedError as error:
        error.again = again
        raise
    except StorageError as error:
        raise StorageError(f"{error}; then go on with `{again}`") from error


def _report_end(report: StatusWriter, error: BaseException) -> None:
    if isinstance(error, StoppedError):
        report.update(state="preempted")
    elif is_collateral_failure(error):
        report.update(state="preempted", error="another process of the job ended")
    else:
        report.fail(in_words(error))


def _read(run: Path) -> Status | None:
    """Return what stands in the file; None where the file is missing or damaged."""
    try:
        status = Status(**json.loads((run / FILE).read_text(encoding="utf-8")))
        for item in fields(Status):
            check_type(getattr(status, item.name), item.type)
    except (OSError, ValueError, TypeError, TypeCheckError):
        return None
    return status if status.state in STATES else None


def slurm_state(job: str) -> str | None:
    """Return SLURM's state of a job that waits or runs, as PENDING.

    None where SLURM knows no such job, or is not on this machine.
    """
    if shutil.which("squeue") is None:
        return None
    done = subprocess.run(
        ["squeue", "--noheader", "--jobs", job, "--format", "%T"], capture_output=True, text=True
    )
    return next(iter(done.stdout.split()), None)


def _is_alive(status: Status) -> bool:
    if status.job is not None and shutil.which("squeue") is not None:
        return slurm_state(status.job) is not None
    if status.host != socket.gethostname():
        return time.time() - status.updated < _SILENT_SECONDS
    try:
        # A process that began later has the same number, but is another one.
        return bool(psutil.Process(status.pid).create_time() <= status.updated)
    except psutil.NoSuchProcess:
        return False
