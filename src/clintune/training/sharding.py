"""How the model is distributed over the processes: a copy on each, or shares of it (FSDP2)."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from accelerate import Accelerator
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from clintune.config.schema import Strategy
from clintune.launch.processes import num_processes
from clintune.layers.dropout import replace_dropout
from clintune.layers.precision import LOWER
from clintune.model.fusion import Fusion


def distribute_model(model: Fusion, accelerator: Accelerator, strategy: Strategy) -> nn.Module:
    """Put the model on its device, or shards of it on all devices; return what the loop calls."""
    replace_dropout(model)
    backbone: Any = model.backbone.model
    if strategy.activation_checkpointing:
        backbone.activation_checkpointing_enable({"use_reentrant": False})
    if strategy.kind != "fsdp2" or accelerator.num_processes == 1:
        spare_casts(model, LOWER.get(accelerator.mixed_precision))
        return accelerator.prepare_model(model)  # type: ignore[no-any-return]
    _apply_fsdp2(model, accelerator, strategy.cpu_offload)
    return model


def _apply_fsdp2(model: Fusion, accelerator: Accelerator, cpu_offload: bool) -> None:
    """Shard the layers of the backbone one by one, then what is left.

    accelerate's own FSDP is not used: it ignores CPUs silently.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import (
        CPUOffloadPolicy,
        MixedPrecisionPolicy,
        OffloadPolicy,
        fully_shard,
    )

    mesh = init_device_mesh(accelerator.device.type, (accelerator.num_processes,))
    offload = CPUOffloadPolicy() if cpu_offload else OffloadPolicy()
    lower = LOWER.get(accelerator.mixed_precision)
    mixed = MixedPrecisionPolicy(param_dtype=lower, reduce_dtype=torch.float32)
    layers = set(getattr(model.backbone.model, "_no_split_modules", None) or [])
    for module in list(model.backbone.modules()):
        if type(module).__name__ in layers:
            fully_shard(module, mesh=mesh, offload_policy=offload, mp_policy=mixed)

    # Resharded after each forward pass, unlike torch's default for the outermost module: else the
    # averaged weights, gathered to be scored, would still be there in the next step.
    idle = {p for part in model.encoders.values() if part.cacheable for p in part.parameters()}
    fully_shard(
        model, mesh=mesh, reshard_after_forward=True, offload_policy=offload, ignored_params=idle
    )
    if not cpu_offload:
        model.to(accelerator.device)  # buffers


def gradient_sync(
    model: nn.Module, accelerator: Accelerator, sync: bool
) -> AbstractContextManager[Any]:
    """Return a context whose backward pass sums the gradients over the processes, if `sync`."""
    from torch.distributed.fsdp import FSDPModule

    if isinstance(model, FSDPModule):
        model.set_requires_gradient_sync(sync)
        return nullcontext()
    return nullcontext() if sync else accelerator.no_sync(model)


def all_reduce_sum(numbers: list[float]) -> list[float]:
    """Sum numbers over the processes, on the CPU: the GPU is still busy with the step before."""
    if num_processes() == 1:
        return numbers
    total = torch.tensor(numbers, dtype=torch.float64)
    torch.distributed.all_reduce(total)
    return total.tolist()


def full_tensor(tensor: Tensor) -> Tensor:
    """Return a tensor gathered from all processes that hold a shard: all of them must call this."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def gather_state_dict(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors gathered, on the CPU and contiguous, ready to be written."""
    return {
        name: full_tensor(tensor.detach()).cpu().contiguous() for name, tensor in tensors.items()
    }


def shard_like(value: Tensor, like: Tensor) -> Tensor:
    """Return this process's shard of a value, laid out as `like`; all of it where that is whole."""
    value = value.to(like.device)
    if isinstance(like, DTensor):
        return distribute_tensor(value, like.device_mesh, like.placements)
    return value


def spare_casts(model: Fusion, dtype: torch.dtype | None) -> None:
    """Cast once what autocast to `dtype` would cast at every step, to the same bits.

    None means that there is no autocast. Frozen linear layers are held in `dtype`. LoRA takes its
    input as it comes: PEFT would cast it to float32, and autocast back. Encoders whose tokens are
    computed once stay as they are, and so do the heads' probes.
    """
    if dtype is None:
        return

    parts = [model.backbone, *(part for part in model.encoders.values() if not part.cacheable)]
    for module in (module for part in parts for module in part.modules()):
        if isinstance(module, BaseTunerLayer):
            module.cast_input_dtype_enabled = False  # type: ignore[assignment]
        elif isinstance(module, nn.Linear):
            weight = module.weight
            if not weight.requires_grad and weight.is_floating_point():
                for parameter in module.parameters(recurse=False):
                    parameter.data = parameter.data.to(dtype)
