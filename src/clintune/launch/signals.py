"""Being told to stop: a signal is heeded at the end of the step in hand, or at once outside the loop."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from clintune.core.errors import StoppedError
from clintune.launch.processes import num_processes

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT, signal.SIGHUP)
"""What SLURM, Kubernetes and launchers send before they kill; Ctrl-C; a terminal that is closed."""

_asked = 0
_in_loop = False
_listener = 0
"""The process that listens: the handlers that its workers inherit do nothing, it ends them itself."""


def install_signal_handlers() -> None:
    """Heed the signals from here on; does nothing outside the main thread, where Python lets no one listen."""
    global _listener
    if threading.current_thread() is threading.main_thread():
        _listener = os.getpid()
        for number in handled_signals():
            signal.signal(number, _on_signal)


def ignore_signals() -> None:
    """Let a signal that still comes pass; whoever listened is about to end."""
    for number in SIGNALS:
        if signal.getsignal(number) is _on_signal:
            signal.signal(number, lambda number, frame: None)


@contextmanager
def signal_handlers_installed() -> Iterator[None]:
    """Give the signals back after the block: a notebook goes on, and its next run was not asked to stop."""
    global _asked
    is_main = threading.current_thread() is threading.main_thread()
    before = {number: signal.getsignal(number) for number in SIGNALS} if is_main else {}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _asked = 0


def handled_signals() -> list[signal.Signals]:
    """Return the signals that were not set to be ignored, as nohup does SIGHUP, and a shell SIGINT in background."""
    return [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]


def pending_signal() -> int:
    """Return the signal that asked this process to stop, 0 if none did."""
    return _asked


@contextmanager
def deferred_signals() -> Iterator[None]:
    """Let a signal wait inside the block, which asks after each step whether there was one.

    A second Ctrl-C does not wait, unless it may be the same one that a launcher passed on.
    """
    global _in_loop
    _in_loop = True
    try:
        yield
    finally:
        _in_loop = False


def _on_signal(number: int, frame: FrameType | None) -> None:
    global _asked, _in_loop
    if os.getpid() != _listener:
        return
    impatient = (
        number == signal.SIGINT and _asked == signal.SIGINT and _in_loop and num_processes() == 1
    )
    if impatient or (not _asked and not _in_loop):
        _asked, _in_loop = number, False
        raise StoppedError(number)
    _asked = _asked or number
