"""When the process looks for garbage, and what it does with memory that it has freed."""

import ctypes
import gc
from collections.abc import Iterator
from contextlib import contextmanager

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # of malloc.h
_NEVER = -1


@contextmanager
def collector_paused() -> Iterator[None]:
    """Pause the garbage collector, for large imports, and spare it what they made: that stays until the process ends.

    Looking through it costs a second while they go on, and a third of one at every full collection later.
    """
    gc.disable()
    try:
        yield
    finally:
        if not gc.get_freeze_count():  # later there may be garbage, which would be kept for good
            gc.freeze()
        gc.enable()


def keep_freed_memory() -> None:
    """Let the C library keep large blocks for reuse: else a CPU gets new zeroed pages for them at every step.

    This is glibc's `mallopt`; another C library is left as it is.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_MAX, 0)
        mallopt(_TRIM_THRESHOLD, _NEVER)
