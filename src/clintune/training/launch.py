"""The one place where the Accelerator is built."""

import os

import torch
from accelerate import Accelerator

from clintune.config.schema import Trainer
from clintune.core.errors import ConfigError

_PRECISIONS = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}


def make_accelerator(trainer: Trainer) -> Accelerator:
    """Return the Accelerator of this process, with deterministic kernels.

    Accumulation is our own: accelerate's stays at 1, or the loss would be divided twice. Raises ConfigError for an
    unknown precision, or fp16 without a GPU.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    has_gpu = torch.cuda.is_available()
    precision = trainer.precision
    if precision == "auto":
        precision = "bf16" if has_gpu and torch.cuda.is_bf16_supported() else "fp32"
    if precision not in _PRECISIONS:
        raise ConfigError(f"trainer.precision '{precision}' does not exist; use auto, {', '.join(_PRECISIONS)}")
    if precision == "fp16" and not has_gpu:
        raise ConfigError("trainer.precision=fp16 needs a GPU; use bf16 or fp32 on this machine")
    return Accelerator(
        mixed_precision=_PRECISIONS[precision],
        cpu=not has_gpu,
        gradient_accumulation_steps=1,
    )
