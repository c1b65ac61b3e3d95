"""The progress bar of a fit: steps, loss, samples a second, time to go."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from clintune.core.console import console
from clintune.training.loop import Watch

_REDRAW_SECONDS = 0.5


@contextmanager
def step_bar(label: str, num_steps: int, batch_size: int, shown: bool) -> Iterator[Watch]:
    """Yield what the loop calls after each step; the bar is drawn on one process only."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[loss]}"),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    # Drawn between steps: the thread that rich would start for it takes time from the kernels of a CPU.
    with Progress(*columns, console=console, auto_refresh=False, disable=not shown) as bar:
        line = bar.add_task(label, total=num_steps, rate="", loss="")
        drawn = 0.0

        def watch(step: int, record: dict[str, Any]) -> None:
            nonlocal drawn
            speed = bar.tasks[0].finished_speed or bar.tasks[0].speed
            rate = f"{speed * batch_size:.0f} samples/s" if speed else ""
            bar.update(line, completed=step, loss=f"loss {record['loss']:.3f}", rate=rate)
            if (now := time.monotonic()) - drawn >= _REDRAW_SECONDS:
                bar.refresh()
                drawn = now

        yield watch
