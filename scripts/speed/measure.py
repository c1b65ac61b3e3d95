"""What is measured inside a run, from its tensors: steps, tokens, padding, memory.

It is the same for every variant.
"""

import resource
import statistics
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.utils.hooks import RemovableHandle

WARM_UP = 20
"""First steps that the steady state leaves out: a CPU makes kernels for new numbers of tokens."""
PEAK_FLOPS = {"H100": 989e12, "H200": 989e12, "A100": 312e12}
"""Dense bf16 operations a second, by what the device's name contains (NVIDIA data sheets, SXM)."""


class Meter:
    """Watches the first module of a class, and every optimizer, from here on.

    `lengths` returns of a call's arguments the number of real tokens of each sample [N], queries
    included. `backbone` names the module's part whose first linear layer tells the number of
    positions that are computed. Calls outside training are not counted. The first `keep` batches
    are kept.
    """

    def __init__(
        self,
        kind: type[nn.Module],
        backbone: str,
        lengths: Callable[[nn.Module, Any], Tensor],
        keep: int = 0,
    ) -> None:
        self.kind = kind
        self.backbone = backbone
        self.count = lengths
        self.keep = keep
        self.start = time.perf_counter()
        self.model: nn.Module | None = None
        self.batches: list[Any] = []
        self.lengths: list[Tensor] = []
        self.positions: list[int] = []
        self.steps: list[float] = []
        self._hooks: list[RemovableHandle] = [
            register_module_forward_pre_hook(self._find),
            register_optimizer_step_post_hook(lambda *_: self.steps.append(time.perf_counter())),
        ]

    def _find(self, module: nn.Module, arguments: tuple[Any, ...]) -> None:
        if not isinstance(module, self.kind):
            return
        self._hooks.pop(0).remove()
        self.model = module
        first = next(iter(linears(module.get_submodule(self.backbone)).values()))
        self._hooks.append(module.register_forward_pre_hook(self._on_batch))
        self._hooks.append(first.register_forward_pre_hook(self._on_linear))
        self._on_batch(module, arguments)

    def _on_batch(self, module: nn.Module, arguments: tuple[Any, ...]) -> None:
        if module.training:
            self.batches += [arguments[0]] if len(self.batches) < self.keep else []
            self.lengths.append(self.count(module, arguments[0]))

    def _on_linear(self, module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        if module.training:
            self.positions.append(arguments[0].numel() // arguments[0].shape[-1])

    def stop(self) -> None:
        """Watch no longer."""
        for hook in self._hooks:
            hook.remove()

    def results(self) -> dict[str, Any]:
        """Return the run's figures, JSON-able.

        Speeds count from `start` to now, the steady ones between steps.
        """
        seconds = time.perf_counter() - self.start
        assert self.model is not None, "the model never ran"
        self.stop()

        lengths = torch.cat(self.lengths).cpu()
        samples, tokens = len(lengths), int(lengths.sum())
        trained = [
            parameter.numel() for parameter in self.model.parameters() if parameter.requires_grad
        ]
        return {
            "seconds": seconds,
            "seconds_to_first_step": self.steps[0] - self.start,
            "steps": len(self.steps),
            "samples": samples,
            "samples_per_second": samples / seconds,
            "tokens": tokens,
            "tokens_per_second": tokens / seconds,
            "positions": sum(self.positions),
            "padding_share": 1 - tokens / sum(self.positions),
            "trainable_parameters": sum(trained),
            **self.steady(),
            **memory(),
        }

    def steady(self) -> dict[str, float | None]:
        """Return samples and tokens a second after the first steps, and MFU on a known GPU."""
        names = (
            "steady_samples_per_second",
            "steady_tokens_per_second",
            "median_step_seconds",
            "mfu",
        )
        skipped = min(WARM_UP, len(self.steps) // 2)
        if skipped < 1:
            return dict.fromkeys(names)
        assert self.model is not None

        # Leave the first steps out.
        per_step = len(self.lengths) // len(self.steps)
        lengths = torch.cat(self.lengths[skipped * per_step :]).cpu()
        times = self.steps[skipped - 1 :]
        seconds = times[-1] - times[0]

        median = statistics.median(after - before for before, after in pairwise(times))
        peak = peak_flops()
        done = training_flops(self.model.get_submodule(self.backbone), lengths)
        values = (
            len(lengths) / seconds,
            float(lengths.sum()) / seconds,
            median,
            done / seconds / peak if peak else None,
        )
        return dict(zip(names, values, strict=True))


def linears(backbone: nn.Module) -> dict[str, nn.Module]:
    """Return the linear layers of the base model by name, those of the adapter left out."""
    return {
        name: module
        for name, module in backbone.named_modules()
        if isinstance(module, nn.Linear) and ".lora_" not in name
    }


def training_flops(backbone: nn.Module, lengths: Tensor) -> float:
    """Return the operations that training must do for samples of these lengths.

    Padding and frozen encoders are left out. A token costs 4 for each weight of the frozen linear
    layers (2 forward, 2 for the gradient of the input; there is none of the weight) and 6 for each
    of LoRA's. Attention costs, a layer, a pair of positions and an entry of the query, 4 forward
    and 8 backward; a causal mask halves the pairs.
    """
    base = 0
    for layer in linears(backbone).values():
        state = getattr(layer.weight, "quant_state", None)
        base += layer.weight.numel() if state is None else state.shape.numel()
    adapter = sum(
        weight.numel() for name, weight in backbone.named_parameters() if ".lora_" in name
    )
    config: Any = next(module.config for module in backbone.modules() if hasattr(module, "config"))
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    pairs = float(lengths.double().square().sum()) * (
        0.5 if config.model_type.startswith("qwen") else 1
    )
    attention = 12 * config.num_hidden_layers * config.num_attention_heads * head * pairs
    return float(lengths.sum()) * (4 * base + 6 * adapter) + attention


def peak_flops() -> float | None:
    """Return the GPU's bf16 operations a second; None without one, or of an unknown kind."""
    if not torch.cuda.is_available():
        return None
    name = torch.cuda.get_device_name()
    return next((peak for kind, peak in PEAK_FLOPS.items() if kind in name), None)


def memory() -> dict[str, float]:
    """Return the peak memory of this process in MB, and what torch allocated on a GPU."""
    unit = 1e6 if sys.platform == "darwin" else 1e3
    gpu = torch.cuda.max_memory_allocated() / 1e6 if torch.cuda.is_available() else 0.0
    return {
        "memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit,
        "gpu_memory_mb": gpu,
    }
