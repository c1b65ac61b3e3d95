"""One process of a run of the scaling benchmark, alone or under torchrun.

    process.py SETTINGS RESULT [OVERRIDES]

It trains with clintune. After the steps that the speed is taken from, `PROFILED` more run under
torch's profiler in all processes at once, from a barrier on. Reading batches, optimizer and history
are part of a step. Two shares of their time come out:

- in collectives: a collective was under way in this process. It is under way from its start here
  until its result is here, so waiting for the slowest process counts; so does what overlaps with
  computation. On a CPU these are gloo's operations, on a GPU NCCL's kernels, and gloo's operations
  on the small counts that travel over the CPU.
- exposed: the part in which nothing was computed meanwhile, neither an operator on the CPU nor, on
  a GPU, a kernel.

Both are means over the processes. The profiler slows operators, not the network: it lowers the
shares rather than raises them.
"""

import json
import sys
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from accelerate.utils import gather_object
from measure import Meter
from prepare import overrides
from settings import Settings
from torch.autograd import DeviceType
from torch.profiler import profile, record_function
from variant import fusion_lengths

from clintune.config.compose import compose_recipe
from clintune.model.fusion import Fusion
from clintune.training import loop
from clintune.training.run import train_run

PROFILED = 4
_WINDOW = "profiled steps"

Spans = list[tuple[float, float]]


class Watched:
    """The loop's `train_step`, measured.

    Step `first` ends the part that gives the speed, and begins the profiled one.
    """

    def __init__(self, first: int) -> None:
        self.first = first
        self.step: Callable[..., Any] = loop.train_step
        self.meter = Meter(Fusion, "backbone", fusion_lengths)
        self.figures: dict[str, Any] = {}
        self._profiled = ExitStack()

    def __call__(self, job: Any, step: int, micro_batches: Any) -> Any:
        """Take a step."""
        if step == self.first:
            self.figures = self.meter.results()
            self.profiler = self._profiled.enter_context(profile())
            job.accelerator.wait_for_everyone()
            self._profiled.enter_context(record_function(_WINDOW))
        elif step == self.first + PROFILED:
            self._profiled.close()
            self.figures |= shares(self.profiler.events())
        return self.step(job, step, micro_batches)


def shares(events: Iterable[Any]) -> dict[str, float]:
    """Return the shares of the profiled time in collectives, and in them while nothing computed."""
    events = list(events)
    start, end = next(
        _span(e) for e in events if e.name == _WINDOW and e.device_type == DeviceType.CPU
    )
    inside = [
        event for event in events if event.time_range.start < end and event.time_range.end > start
    ]

    # Compare the time of computing with that of collectives.
    has_gpu = any(event.device_type == DeviceType.CUDA for event in inside)
    computing = [_span(event) for event in inside if _computes(event, has_gpu)]
    collectives = [_span(event) for event in inside if _communicates(event)]
    busy = covered(computing, start, end)
    return {
        "communication_share": covered(collectives, start, end) / (end - start),
        "exposed_share": (covered(collectives + computing, start, end) - busy) / (end - start),
    }


def covered(spans: Spans, start: float, end: float) -> float:
    """Return how much of the time between `start` and `end` lies in at least one of the spans."""
    total, reached = 0.0, start
    for begin, stop in sorted(spans):
        total += max(0.0, min(stop, end) - max(begin, reached))
        reached = max(reached, stop)
    return total


def _span(event: Any) -> tuple[float, float]:
    return event.time_range.start, event.time_range.end


def _communicates(event: Any) -> bool:
    start = "ncclDevKernel" if event.device_type == DeviceType.CUDA else "gloo:"
    return event.name.startswith(start)  # type: ignore[no-any-return]


def _computes(event: Any, has_gpu: bool) -> bool:
    if has_gpu:
        is_kernel = event.device_type == DeviceType.CUDA and event.name != _WINDOW
        return is_kernel and not event.name.startswith("nccl")
    return event.name.startswith("aten::")  # type: ignore[no-any-return]


def train(settings: Settings, *more: str) -> dict[str, Any]:
    """Train as one process of several; return the figures of all of them together."""
    config = compose_recipe(Path(settings.folder) / "speed.yaml", [*overrides(settings), *more])
    watched = Watched(config.trainer.max_steps - PROFILED - 1)
    loop.train_step = watched
    train_run(config)
    every = gather_object([watched.figures])
    return {
        "samples_per_second": sum(figures["steady_samples_per_second"] for figures in every),
        "step_seconds": max(figures["median_step_seconds"] for figures in every),
        "communication_share": mean(figures["communication_share"] for figures in every),
        "exposed_share": mean(figures["exposed_share"] for figures in every),
        "memory_mb": max(figures["memory_mb"] for figures in every),
        "gpu_memory_mb": max(figures["gpu_memory_mb"] for figures in every),
    }


def main() -> None:
    """Train; the first process writes the figures."""
    given, result = Path(sys.argv[1]), Path(sys.argv[2])
    figures = train(Settings.load(given), *sys.argv[3:])
    if not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0:
        result.write_text(json.dumps(figures), encoding="utf-8")


if __name__ == "__main__":
    main()
