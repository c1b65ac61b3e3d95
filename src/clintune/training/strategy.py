"""How the model is spread over the processes, and the one place where the Accelerator is built."""

import os
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import InitProcessGroupKwargs, gather_object
from omegaconf import DictConfig
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from clintune.core.dropout import replace_dropout
from clintune.core.errors import ConfigError
from clintune.core.precision import LOWER
from clintune.model.fusion import Fusion
from clintune.training.precision import precision, spare_casts
from clintune.training.processes import num_processes


def check_device(config: DictConfig) -> None:
    """Refuse what this machine or this number of processes cannot do, before anything loads.

    Raises ConfigError naming the keys.
    """
    has_gpu, several = torch.cuda.is_available(), num_processes() > 1
    wrong = {
        "strategy=single takes one process; use strategy=ddp or fsdp2": config.strategy.kind
        == "single"
        and several,
        "strategy.cpu_offload needs a GPU, and several processes": (
            config.strategy.cpu_offload and not (has_gpu and several)
        ),
        "trainer.precision=fp16 needs a GPU; use bf16 or fp32": config.trainer.precision == "fp16"
        and not has_gpu,
    }
    if found := [problem for problem, is_so in wrong.items() if is_so]:
        raise ConfigError("; and ".join(found))


def check_gpus(cluster: Any) -> None:
    """Refuse GPUs that this machine has not, where it is to be the cluster; ConfigError names the key."""
    there = torch.cuda.device_count()
    if cluster.kind == "local" and cluster.gpus_per_node > there:
        raise ConfigError(
            f"cluster.gpus_per_node={cluster.gpus_per_node}, but this machine has {there} that torch can use; lower "
            "it, or set cluster.processes for several without"
        )


def make_accelerator(config: DictConfig) -> Accelerator:
    """Return the Accelerator of this process, with deterministic kernels; with several processes they meet here.

    Accumulation is our own: accelerate's stays at 1, or the loss would be divided twice. Raises ConfigError where the
    processes compute in different precisions, as `auto` may have it on machines of several kinds.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Filling new tensors with NaN finds kernels that read what nobody wrote; for results alike it is not needed.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    has_gpu, computed = torch.cuda.is_available(), precision(config)
    AcceleratorState._reset_state()  # it would hold on to the precision of this process's run before
    # Small counts travel over gloo, so that they do not wait for the GPU; so do offloaded weights.
    backend = "cpu:gloo,cuda:nccl" if has_gpu else "gloo"
    accelerator = Accelerator(
        mixed_precision=computed if computed in LOWER else "no",
        cpu=not has_gpu,
        gradient_accumulation_steps=1,
        kwargs_handlers=[InitProcessGroupKwargs(backend=backend)] if num_processes() > 1 else None,
    )
    if len(found := set(gather_object([computed]))) > 1:
        raise ConfigError(
            f"the processes of this job compute in {' and '.join(sorted(found))}; set trainer.precision"
        )
    return accelerator


def local_device() -> torch.device:
    """Return the device of this process, known before the processes meet."""
    return (
        torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        if torch.cuda.is_available()
        else torch.device("cpu")
    )


def num_workers(asked: int | None, device: torch.device) -> int:
    """Return how many processes read ahead for a process that computes on `device`: as asked, or as suits it."""
    return (4 if device.type == "cuda" else 0) if asked is None else asked


def spread(model: Fusion, accelerator: Accelerator, config: DictConfig) -> nn.Module:
    """Put the model on its device, or its shares on the devices of all processes; return what the loop calls."""
    replace_dropout(model)
    backbone: Any = model.backbone.model
    if config.strategy.activation_checkpointing:
        backbone.activation_checkpointing_enable({"use_reentrant": False})
    if config.strategy.kind != "fsdp2" or accelerator.num_processes == 1:
        spare_casts(model, LOWER.get(accelerator.mixed_precision))
        return accelerator.prepare_model(model)  # type: ignore[no-any-return]
    _share_out(model, accelerator, config.strategy.cpu_offload)
    return model


def _share_out(model: Fusion, accelerator: Accelerator, cpu_offload: bool) -> None:
    """Shard the layers of the backbone one by one, then what is left; accelerate's own FSDP ignores CPUs silently."""
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
    layers = set(getattr(model.backbone.model, "_no_split_modules", None) or [])
    for module in list(model.backbone.modules()):
        if type(module).__name__ in layers:
            fully_shard(
                module,
                mesh=mesh,
                offload_policy=offload,
                mp_policy=MixedPrecisionPolicy(param_dtype=lower, reduce_dtype=torch.float32),
            )
    idle = {p for part in model.encoders.values() if part.cacheable for p in part.parameters()}
    # Resharded after each forward pass, unlike torch's default for the outermost module: else the averaged weights,
    # gathered to be scored, would still be there in the next step.
    fully_shard(
        model, mesh=mesh, reshard_after_forward=True, offload_policy=offload, ignored_params=idle
    )
    if not cpu_offload:
        model.to(accelerator.device)  # buffers


def gradients_meet(
    model: nn.Module, accelerator: Accelerator, meet: bool
) -> AbstractContextManager[Any]:
    """Return a context in whose backward pass the gradients of all processes are summed, or not yet."""
    from torch.distributed.fsdp import FSDPModule

    if isinstance(model, FSDPModule):
        model.set_requires_gradient_sync(meet)
        return nullcontext()
    return nullcontext() if meet else accelerator.no_sync(model)


def over_processes(numbers: list[float]) -> list[float]:
    """Sum numbers over the processes, on the CPU: the GPU is still busy with the step before."""
    if num_processes() == 1:
        return numbers
    total = torch.tensor(numbers, dtype=torch.float64)
    torch.distributed.all_reduce(total)
    return total.tolist()


def whole(tensor: Tensor) -> Tensor:
    """Return a tensor gathered from all processes that hold a share of it: all of them must call this."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def wholes(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors gathered, on the CPU and contiguous, ready to be written."""
    return {name: whole(tensor.detach()).cpu().contiguous() for name, tensor in tensors.items()}


def share_like(value: Tensor, like: Tensor) -> Tensor:
    """Return this process's share of a whole value, laid out as `like`; the value itself where that is whole."""
    value = value.to(like.device)
    return (
        distribute_tensor(value, like.device_mesh, like.placements)
        if isinstance(like, DTensor)
        else value
    )
