"""The order of the data: a pure function of seed and step, the same for any number of processes and any resume."""

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from clintune.core.errors import ConfigError
from clintune.core.seeding import generator
from clintune.model.batching import Draw


class Order:
    """Which samples each step sees, and how they are shared out as micro-batches.

    An epoch is a permutation cut into batches of `batch_size`; the rest that fills none is left to other epochs,
    whose permutations differ. A split smaller than a batch is one batch.
    """

    def __init__(
        self, rows: NDArray[np.int64], lengths: NDArray[np.int64], *, batch_size: int, micro_batch_size: int, seed: int
    ) -> None:
        self.rows = rows
        self.lengths = lengths
        self.batch_size = min(batch_size, len(rows))
        self.micro_batch_size = micro_batch_size
        self.seed = seed
        self.steps_per_epoch = len(rows) // self.batch_size

    def batch(self, step: int) -> tuple[int, NDArray[np.int64]]:
        """Return the epoch of a step and the rows of its batch, those with like numbers of items side by side."""
        epoch, position = divmod(step, self.steps_per_epoch)
        start = position * self.batch_size
        chosen = np.sort(_permutation(len(self.rows), self.seed, epoch)[start : start + self.batch_size])
        chosen = chosen[np.argsort(self.lengths[chosen], kind="stable")]
        return epoch, self.rows[chosen]

    def micro_batches(self, step: int, num_processes: int) -> list[Draw]:
        """Cut a step's batch into micro-batches, a multiple of the number of processes; process p takes every p-th.

        Raises ConfigError when there are fewer samples than processes.
        """
        epoch, rows = self.batch(step)
        if len(rows) < num_processes:
            raise ConfigError(f"trainer.batch_size {len(rows)} is less than {num_processes} processes; raise it")
        num = math.ceil(len(rows) / (self.micro_batch_size * num_processes)) * num_processes
        num = min(num, len(rows) // num_processes * num_processes)
        return [Draw(rows=part.tolist(), epoch=epoch, seed=self.seed) for part in np.array_split(rows, num)]

    def draws(self, first_step: int, last_step: int, process: int, num_processes: int) -> "StepDraws":
        """Return the draws of one process from `first_step` up to `last_step`, made when asked for."""
        return StepDraws(self, first_step, last_step, process, num_processes)


class StepDraws(Sequence[Draw]):
    """A lazy sequence of one process's draws, step after step; every full step has as many."""

    def __init__(self, order: Order, first_step: int, last_step: int, process: int, num_processes: int) -> None:
        self.order = order
        self.first_step = first_step
        self.last_step = last_step
        self.process = process
        self.num_processes = num_processes
        self.per_step = len(order.micro_batches(0, num_processes)) // num_processes

    def __len__(self) -> int:
        return (self.last_step - self.first_step) * self.per_step

    def __getitem__(self, position: int | slice) -> Draw:  # type: ignore[override]
        assert isinstance(position, int)
        step, number = divmod(position, self.per_step)
        draws = self.order.micro_batches(self.first_step + step, self.num_processes)
        return draws[number * self.num_processes + self.process]


@lru_cache(maxsize=2)
def _permutation(length: int, seed: int, epoch: int) -> NDArray[np.int64]:
    order: NDArray[np.int64] = torch.randperm(length, generator=generator(seed, "order", epoch)).numpy()
    return order


def inference_draws(rows: NDArray[np.int64], batch_size: int, view: int = 0) -> list[Draw]:
    """Return draws that cover `rows` once, in order."""
    parts: Iterator[NDArray[np.int64]] = (rows[i : i + batch_size] for i in range(0, len(rows), batch_size))
    return [Draw(rows=part.tolist(), view=view) for part in parts]
