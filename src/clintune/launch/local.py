"""Start a job as several processes of this machine. Torch is imported only to start them."""

import logging
import os
import shlex
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import psutil

from clintune.core.errors import ClintuneError, ConfigError, StoppedError, TrainingError
from clintune.launch.processes import LAUNCHED
from clintune.launch.signals import handled_signals


def start_processes(words: Sequence[str], number: int, logs: Path) -> None:
    """Run `clintune WORDS` as several processes of this machine, and wait for them.

    torch's elastic launcher starts them. The first process has this terminal, the others write
    below `logs`. When one fails, the others are ended and its error is raised: TrainingError,
    ConfigError or StoppedError.
    """
    from torch.distributed.elastic.multiprocessing.api import DefaultLogsSpecs, SignalException, Std
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    # The launcher's own report is long: clintune raises it as one line.
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    os.environ[LAUNCHED] = "1"
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // number)))

    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=number,
        run_id=f"clintune-{os.getpid()}",
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        local_addr="127.0.0.1",
        max_restarts=0,
        signals_to_handle="SIGQUIT",  # the others are passed on
        logs_specs=DefaultLogsSpecs(str(logs), redirects=dict.fromkeys(range(1, number), Std.ALL)),
    )

    again = shlex.join(["clintune", *words])
    try:
        with _signals_forwarded():
            elastic_launch(config, sys.executable)("-m", "clintune.cli", *words)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        raise _as_error(rank, failure.exitcode, failure.message, again) from error
    except SignalException as error:
        raise StoppedError(error.sigval.value, again=again) from error


@contextmanager
def _signals_forwarded() -> Iterator[None]:
    """Pass signals on to the processes inside the block, and wait until they have saved and ended.

    The launcher itself would kill them after half a minute, and a step may take as long. A second
    signal kills them at once.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException

    asked = False

    def pass_on(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        children = psutil.Process().children()
        if asked:
            for child in children:
                child.kill()
            return

        asked = True
        for child in children:
            child.send_signal(number)
        psutil.wait_procs(children)
        raise SignalException(f"stopped by signal {number}", signal.Signals(number))

    # The handlers of before are restored at the end.
    before = {number: signal.signal(number, pass_on) for number in handled_signals()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _as_error(rank: int, code: int, message: str, again: str) -> ClintuneError | StoppedError:
    """Return the error for the exit code and the message of a process."""
    if code == 2:
        return ConfigError(message)
    if code > 128:
        return StoppedError(code - 128, again=again)
    if code < 0:
        message = f"was killed by signal {-code}; go on with `{again}`"
    return TrainingError(f"process {rank}: {message}")
