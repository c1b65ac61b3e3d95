"""The number of GPUs of this machine, from its driver: torch knows it too, but takes seconds."""

import ctypes
import os
from pathlib import Path


def num_gpus() -> int | None:
    """Return the number of GPUs that a process may use; None where NVIDIA's driver does not tell.

    Nothing is known of parts of a GPU (MIG) and of GPUs by AMD.
    """
    asked = os.environ.get("CUDA_VISIBLE_DEVICES")
    if asked is not None and "MIG" in asked:
        return None

    try:
        driver = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return None if Path("/dev/kfd").exists() else 0  # the device file of AMD's driver

    count = ctypes.c_uint()
    if driver.nvmlInit_v2() != 0 or driver.nvmlDeviceGetCount_v2(ctypes.byref(count)) != 0:
        return 0
    driver.nvmlShutdown()
    return count.value if asked is None else min(count.value, _listed(asked))


def _listed(asked: str) -> int:
    """Return how many devices CUDA_VISIBLE_DEVICES lists, before one that is none, as -1."""
    names = [name.strip() for name in asked.split(",")]
    wrong = (number for number, name in enumerate(names) if not name or name.startswith("-"))
    return next(wrong, len(names))
