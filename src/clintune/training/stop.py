"""Being told to stop: a scheduler's signal is heeded at the end of the step in hand, or at once outside the loop."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from clintune.core.errors import StoppedError

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
"""What SLURM, Kubernetes and launchers send before they kill."""

_asked = 0
_in_loop = False


def listen() -> None:
    """Heed the signals from here on; does nothing outside the main thread, where Python lets no one listen."""
    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            signal.signal(number, _heed)


def listen_no_more() -> None:
    """Let a signal that still comes pass; whoever listened is about to end."""
    for number in SIGNALS:
        if signal.getsignal(number) is _heed:
            signal.signal(number, lambda number, frame: None)


def asked_to_stop() -> int:
    """Return the signal that asked this process to stop, 0 if none did."""
    return _asked


@contextmanager
def step_by_step() -> Iterator[None]:
    """Let a signal wait inside the block, which asks after each step whether there was one."""
    global _in_loop
    _in_loop = True
    try:
        yield
    finally:
        _in_loop = False


def _heed(number: int, frame: FrameType | None) -> None:
    global _asked
    if not _asked and not _in_loop:
        _asked = number
        raise StoppedError(number)
    _asked = _asked or number
