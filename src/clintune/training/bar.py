"""How a fit goes, for people: a progress bar on a terminal, and a line now and then in logs and pipes."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from clintune.core.console import console
from clintune.training.loop import Watch

_REDRAW_SECONDS = 0.5
_LINE_SECONDS = 30


@contextmanager
def step_bar(label: str, num_steps: int, batch_size: int, shown: bool) -> Iterator[Watch]:
    """Yield what the loop calls after each step; of several processes, one shows it."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[loss]}"),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    # Drawn between steps: the thread that rich would start for it takes time from the kernels of a CPU.
    drawn_here = shown and console.is_terminal
    with Progress(*columns, console=console, auto_refresh=False, disable=not drawn_here) as bar:
        line = bar.add_task(label, total=num_steps, rate="", loss="")
        lines = Lines(label, num_steps, batch_size)
        drawn = 0.0

        def watch(step: int, record: dict[str, Any]) -> None:
            nonlocal drawn
            speed = bar.tasks[0].finished_speed or bar.tasks[0].speed
            rate = f"{speed * batch_size:.0f} samples/s" if speed else ""
            bar.update(line, completed=step, loss=f"loss {record['loss']:.3f}", rate=rate)
            if (now := time.monotonic()) - drawn >= _REDRAW_SECONDS:
                bar.refresh()
                drawn = now
            if (text := lines.after(step, record, now)) is not None:
                console.note(text)

        yield watch


class Lines:
    """Lines that say how far a fit is, at each tuning score and at least every half a minute."""

    def __init__(self, label: str, num_steps: int, batch_size: int) -> None:
        self.label = label
        self.num_steps = num_steps
        self.batch_size = batch_size
        self.began = self.said = time.monotonic()
        self.num_done = 0

    def after(self, step: int, record: dict[str, Any], now: float) -> str | None:
        """Return the line after a step, `now` on the monotonic clock; None where it is not yet time for one."""
        self.num_done += 1
        score = record.get("tuning/score")
        if score is None and now - self.said < _LINE_SECONDS:
            return None
        self.said = now
        seconds = max(now - self.began, 1e-3) / self.num_done
        left = timedelta(seconds=round(seconds * (self.num_steps - step)))
        parts = [f"step {step} of {self.num_steps}", f"loss {record['loss']:.3f}"]
        parts += [] if score is None else [f"tuning score {score:.4f}"]
        parts += [f"{self.batch_size / seconds:.3g} samples/s", f"{left} left"]
        return f"{self.label}: {', '.join(parts)}"
