"""Floating point precisions by name, and the context that computes in one."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

LOWER = {"bf16": torch.bfloat16, "fp16": torch.float16}


def has_bf16() -> bool:
    """Return whether this machine's GPU, or where there is none its CPU (AVX512-BF16), computes in bfloat16 itself."""
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu.get_capabilities().get("avx512_bf16", False))


def computing_in(precision: str, device: torch.device) -> AbstractContextManager[Any]:
    """Return a context that computes in `fp32`, or lets autocast compute in `bf16` or `fp16`."""
    return torch.autocast(device.type, LOWER[precision]) if precision in LOWER else nullcontext()


def resolve_precision(asked: str) -> str:
    """Return the precision that `asked` means on this machine: `fp32`, `bf16` or `fp16`.

    `auto` is resolved where training begins and kept in the run's recipe, for resuming and
    evaluation anywhere. A run that trained in fp16 on a GPU is evaluated in fp32 where there is
    none.
    """
    if asked == "auto":
        return "bf16" if has_bf16() else "fp32"
    return "fp32" if asked == "fp16" and not torch.cuda.is_available() else asked
