"""Which precision a run computes in, and the casts that it spares there."""

import torch
from omegaconf import DictConfig
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn

from clintune.core.precision import has_bf16
from clintune.model.fusion import Fusion


def precision(config: DictConfig) -> str:
    """Return the precision that the run computes in on this machine: `fp32`, `bf16` or `fp16`.

    `auto` is settled where training begins and kept in the run's recipe, for resuming and evaluation anywhere. A run
    that trained in fp16 on a GPU is evaluated in fp32 where there is none.
    """
    return settled(config.trainer.precision)


def settled(asked: str) -> str:
    """Return the precision that stands for the one `asked` on this machine."""
    if asked == "auto":
        return "bf16" if has_bf16() else "fp32"
    return "fp32" if asked == "fp16" and not torch.cuda.is_available() else asked


def spare_casts(model: Fusion, dtype: torch.dtype | None) -> None:
    """Cast once what autocast to `dtype` would cast at every step, to the same bits (None: there is no autocast).

    Frozen linear layers are held in `dtype`, and LoRA takes its input as it comes, which PEFT would cast to float32 and
    autocast back. Encoders whose tokens are computed once stay as they are, and so do the heads' probes.
    """
    if dtype is None:
        return
    parts = [model.backbone, *(part for part in model.encoders.values() if not part.cacheable)]
    for module in (module for part in parts for module in part.modules()):
        if isinstance(module, BaseTunerLayer):
            module.cast_input_dtype_enabled = False  # type: ignore[assignment]
        elif (
            isinstance(module, nn.Linear)
            and not module.weight.requires_grad
            and module.weight.is_floating_point()
        ):
            for parameter in module.parameters(recurse=False):
                parameter.data = parameter.data.to(dtype)
