"""Signals that stop a process: at the end of the current step, or at once outside the loop."""

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

_pending = 0
"""The signal that asked this process to stop; 0 where none did."""
_in_loop = False
"""Whether the process is inside `deferred_signals`."""
_handling_process = 0
"""The process that handles signals.

Its workers inherit the handlers, which do nothing there: it ends the workers itself.
"""


def install_signal_handlers() -> None:
    """Handle the signals from now on.

    Outside the main thread this does nothing, because Python allows no handlers there.
    """
    global _handling_process
    if threading.current_thread() is threading.main_thread():
        _handling_process = os.getpid()
        for number in handled_signals():
            signal.signal(number, _on_signal)


def ignore_signals() -> None:
    """Ignore further signals; the process that handled them is about to end."""
    for number in SIGNALS:
        if signal.getsignal(number) is _on_signal:
            signal.signal(number, lambda number, frame: None)


@contextmanager
def restored_signal_handlers() -> Iterator[None]:
    """Restore the signal handlers after the block.

    A notebook goes on, and nothing has asked its next run to stop.
    """
    global _pending
    is_main = threading.current_thread() is threading.main_thread()
    before = {number: signal.getsignal(number) for number in SIGNALS} if is_main else {}

    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _pending = 0


def handled_signals() -> list[signal.Signals]:
    """Return the signals that are not ignored already.

    nohup ignores SIGHUP, and a shell ignores SIGINT for a process in the background.
    """
    return [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]


def pending_signal() -> int:
    """Return the signal that asked this process to stop; 0 where none did."""
    return _pending


@contextmanager
def deferred_signals() -> Iterator[None]:
    """Defer signals inside the block, which calls `pending_signal` after each step.

    A second Ctrl-C is not deferred, unless it may be the first one again, passed on by a launcher.
    """
    global _in_loop
    _in_loop = True
    try:
        yield
    finally:
        _in_loop = False


def _on_signal(number: int, frame: FrameType | None) -> None:
    """Stop at once, or let the signal wait for the end of the step."""
    global _pending, _in_loop
    if os.getpid() != _handling_process:
        return

    is_second_interrupt = number == signal.SIGINT and _pending == signal.SIGINT and _in_loop
    impatient = is_second_interrupt and num_processes() == 1
    if impatient or (not _pending and not _in_loop):
        _pending, _in_loop = number, False
        raise StoppedError(number)
    _pending = _pending or number
