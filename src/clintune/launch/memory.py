"""The memory of this process: what it keeps, when it collects garbage, how much it used at most."""

import ctypes
import gc
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # of malloc.h
_NEVER = -1


def keep_freed_memory() -> None:
    """Make the C library keep large blocks for reuse.

    Otherwise a CPU gets new zeroed pages for them at each step. This is glibc's `mallopt`; another
    C library is left as it is.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_MAX, 0)
        mallopt(_TRIM_THRESHOLD, _NEVER)


def peak_memory_mb() -> float:
    """Return the most memory that this process has used so far, in MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # The unit is 1024 bytes, but one byte on macOS.
    return peak * (1 if sys.platform == "darwin" else 1024) / 1e6


@contextmanager
def collector_paused() -> Iterator[None]:
    """Pause the garbage collector for large imports, and exclude from it what they made.

    What they made stays until the process ends. To look through it costs a second during the
    imports, and a third of one at each full collection later.
    """
    gc.disable()
    try:
        yield
    finally:
        # Later there may be garbage, which would be kept for good.
        if not gc.get_freeze_count():
            gc.freeze()
        gc.enable()
