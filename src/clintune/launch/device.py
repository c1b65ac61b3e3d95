"""Device and precision of this process, and the one place that builds the Accelerator."""

import os
from dataclasses import replace

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import InitProcessGroupKwargs, gather_object

from clintune.config.schema import Cluster, Config, Strategy, Trainer
from clintune.core.errors import ConfigError
from clintune.launch.processes import num_processes
from clintune.layers.precision import LOWER, resolve_precision


def check_device(strategy: Strategy, trainer: Trainer) -> None:
    """Refuse what this machine or this number of processes cannot do, before anything loads.

    Raises ConfigError that names the keys.
    """
    has_gpu, several = torch.cuda.is_available(), num_processes() > 1
    problems = []
    if strategy.kind == "single" and several:
        problems.append("strategy=single takes one process; use strategy=ddp or fsdp2")
    if strategy.cpu_offload and not (has_gpu and several):
        problems.append("strategy.cpu_offload needs a GPU, and several processes")
    if trainer.precision == "fp16" and not has_gpu:
        problems.append("trainer.precision=fp16 needs a GPU; use bf16 or fp32")
    if problems:
        raise ConfigError("; and ".join(problems))


def check_gpus(cluster: Cluster) -> None:
    """Refuse more GPUs than this machine has, if the job runs here; ConfigError names the key."""
    there = torch.cuda.device_count()
    if cluster.kind == "local" and cluster.gpus_per_node > there:
        raise ConfigError(
            f"cluster.gpus_per_node={cluster.gpus_per_node}, but this machine has {there} that "
            "torch can use; lower it, or set cluster.processes for several without"
        )


def make_accelerator(trainer: Trainer) -> Accelerator:
    """Return the Accelerator of this process, with deterministic kernels.

    Several processes meet here. The training loop accumulates gradients itself: accelerate's
    accumulation stays at 1, or the loss would be divided twice. Raises ConfigError if the processes
    compute in different precisions, which `auto` may choose on machines of several kinds.
    """
    # Deterministic kernels.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    # New tensors need no NaN: that finds kernels that read unwritten memory, but changes no result.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]

    # Accelerate would keep the precision of this process's previous run.
    has_gpu, computed = torch.cuda.is_available(), resolve_precision(trainer.precision)
    AcceleratorState._reset_state()
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
            f"the processes of this job compute in {' and '.join(sorted(found))}; "
            "set trainer.precision"
        )
    return accelerator


def on_this_machine(config: Config) -> Config:
    """Return a config with the precision in which this machine computes; the recipe keeps it."""
    precision = resolve_precision(config.trainer.precision)
    return replace(config, trainer=replace(config.trainer, precision=precision))


def local_device() -> torch.device:
    """Return the device of this process, known before the processes meet."""
    return (
        torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        if torch.cuda.is_available()
        else torch.device("cpu")
    )


def num_workers(asked: int | None, device: torch.device) -> int:
    """Return how many processes read ahead for one that computes on `device`.

    Without `asked` these are 4 beside a GPU, else none.
    """
    return (4 if device.type == "cuda" else 0) if asked is None else asked
