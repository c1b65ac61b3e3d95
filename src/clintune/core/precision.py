"""Floating point precisions by name, and the context that computes in one."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

LOWER = {"bf16": torch.bfloat16, "fp16": torch.float16}


def computing_in(precision: str, device: torch.device) -> AbstractContextManager[Any]:
    """Return a context that computes in `fp32`, or lets autocast compute in `bf16` or `fp16`."""
    return torch.autocast(device.type, LOWER[precision]) if precision in LOWER else nullcontext()
