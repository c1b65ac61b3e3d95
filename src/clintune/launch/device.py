"""The device and the precision of this process, and the one place where the Accelerator is built."""

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

    Raises ConfigError naming the keys.
    """
    has_gpu, several = torch.cuda.is_available(), num_processes() > 1
    wrong = {
        "strategy=single takes one process; use strategy=ddp or fsdp2": strategy.kind == "single"
        and several,
        "strategy.cpu_offload needs a GPU, and several processes": (
            strategy.cpu_offload and not (has_gpu and several)
        ),
        "trainer.precision=fp16 needs a GPU; use bf16 or fp32": trainer.precision == "fp16"
        and not has_gpu,
    }
    if found := [problem for problem, is_so in wrong.items() if is_so]:
        raise ConfigError("; and ".join(found))


def check_gpus(cluster: Cluster) -> None:
    """Refuse GPUs that this machine has not, where it is to be the cluster; ConfigError names the key."""
    there = torch.cuda.device_count()
    if cluster.kind == "local" and cluster.gpus_per_node > there:
        raise ConfigError(
            f"cluster.gpus_per_node={cluster.gpus_per_node}, but this machine has {there} that torch can use; lower "
            "it, or set cluster.processes for several without"
        )


def make_accelerator(trainer: Trainer) -> Accelerator:
    """Return the Accelerator of this process, with deterministic kernels; with several processes they meet here.

    Accumulation is our own: accelerate's stays at 1, or the loss would be divided twice. Raises ConfigError where the
    processes compute in different precisions, as `auto` may have it on machines of several kinds.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Filling new tensors with NaN finds kernels that read what nobody wrote; for results alike it is not needed.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    has_gpu, computed = torch.cuda.is_available(), resolve_precision(trainer.precision)
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


def on_this_machine(config: Config) -> Config:
    """Return a config with the precision that this machine computes in; the run's recipe keeps it."""
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
    """Return how many processes read ahead for a process that computes on `device`: as asked, or as suits it."""
    return (4 if device.type == "cuda" else 0) if asked is None else asked
