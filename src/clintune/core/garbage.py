"""When the process looks for garbage."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


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
