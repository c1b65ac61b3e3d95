"""Floating-point precisions by name, and the context that computes in one."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

LOWER = {"bf16": torch.bfloat16, "fp16": torch.float16}


def has_bf16() -> bool:
    """Return whether this machine computes in bfloat16 natively.

    The GPU is asked, and where there is none the CPU (AVX512-BF16).
    """
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu.get_capabilities().get("avx512_bf16", False))


def computing_in(precision: str, device: torch.device) -> AbstractContextManager[Any]:
    """Return a context that computes in `fp32`, or lets autocast compute in `bf16` or `fp16`."""
    return torch.autocast(device.type, LOWER[precision]) if precision in LOWER else nullcontext()


def resolve_precision(asked: str) -> str:
    """Return the precision that `asked` means on this machine: `fp32`, `bf16` or `fp16`.

    `auto` is resolved when training begins, and the run's recipe keeps the result for resuming and
    evaluation on any machine. A run that was trained in fp16 on a GPU is evaluated in fp32 where
    there is no GPU.
    """
    if asked == "auto":
        return "bf16" if has_bf16() else "fp32"
    return "fp32" if asked == "fp16" and not torch.cuda.is_available() else asked
