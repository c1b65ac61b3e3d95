"""What the process does with memory that it has freed, and how much it had at most."""

import ctypes
import resource
import sys

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # of malloc.h
_NEVER = -1


def keep_freed_memory() -> None:
    """Let the C library keep large blocks for reuse: else a CPU gets new zeroed pages for them at every step.

    This is glibc's `mallopt`; another C library is left as it is.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_MAX, 0)
        mallopt(_TRIM_THRESHOLD, _NEVER)


def peak_memory_mb() -> float:
    """Return the most memory that this process has had so far, in MB."""
    peak = resource.getrusage(
        resource.RUSAGE_SELF
    ).ru_maxrss  # in units of 1024 bytes, but of bytes on macOS
    return peak * (1 if sys.platform == "darwin" else 1024) / 1e6
