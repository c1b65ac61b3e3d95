"""The order of the data: a pure function of seed and step.

It is the same for any number of processes, and after any resume.
"""

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from clintune.config.schema import Trainer
from clintune.core.errors import ConfigError
from clintune.core.seeding import generator
from clintune.features.batching import BatchSpec


def num_steps(trainer: Trainer, num_samples: int) -> int:
    """Return how many steps a member takes: as many as asked for, or as its epochs take."""
    if trainer.max_steps is not None:
        return trainer.max_steps
    return math.ceil(trainer.epochs * (num_samples // min(trainer.batch_size, num_samples)))


class BatchSampler:
    """Which samples each step sees, and how they are cut into micro-batches.

    An epoch is a permutation cut into batches of `batch_size`. The rest that fills none is left to
    other epochs, whose permutations differ. A split smaller than a batch is one batch.
    """

    def __init__(
        self,
        rows: NDArray[np.int64],
        lengths: NDArray[np.int64],
        *,
        batch_size: int,
        micro_batch_size: int,
        micro_batch_tokens: int | None = None,
        seed: int,
    ) -> None:
        """Take the training rows and the length of every sample, in tokens."""
        self.rows = rows
        self.lengths = lengths
        self.batch_size = min(batch_size, len(rows))
        self.micro_batch_size = micro_batch_size
        self.micro_batch_tokens = micro_batch_tokens
        self.seed = seed
        self.steps_per_epoch = len(rows) // self.batch_size

    def batch(self, step: int) -> tuple[int, NDArray[np.int64]]:
        """Return the epoch of a step and the rows of its batch, ordered by length."""
        epoch, position = divmod(step, self.steps_per_epoch)
        start = position * self.batch_size
        order = _permutation(len(self.rows), self.seed, epoch)
        rows = self.rows[np.sort(order[start : start + self.batch_size])]
        return epoch, rows[np.argsort(self.lengths[rows], kind="stable")]

    def micro_batches(self, step: int, num_processes: int) -> list[BatchSpec]:
        """Cut a step's batch into micro-batches.

        Their number is a multiple of that of the processes: of P processes, process p takes those
        numbered p, p + P, p + 2P. Raises ConfigError when there are fewer samples than processes.
        """
        epoch, rows = self.batch(step)
        if len(rows) < num_processes:
            raise ConfigError(
                f"trainer.batch_size {len(rows)} is less than {num_processes} processes; raise it"
            )

        # Cut by the number of samples.
        most = len(rows) // num_processes * num_processes
        rounds = math.ceil(len(rows) / (self.micro_batch_size * num_processes))
        num = min(rounds * num_processes, most)
        parts = np.array_split(rows, num)

        # Cut by tokens instead, ever finer, until the longest part fits.
        while self.micro_batch_tokens is not None:
            parts = cut_evenly(rows, self.lengths[rows], num)
            longest = max(int(self.lengths[part].sum()) for part in parts)
            if num == most or longest <= self.micro_batch_tokens:
                break
            num += num_processes
        return [BatchSpec(rows=part.tolist(), epoch=epoch, seed=self.seed) for part in parts]

    def steps(self, first: int, last: int, process: int, num_processes: int) -> "ProcessBatches":
        """Return one process's batches of each step from `first` up to `last`, made on demand."""
        return ProcessBatches(self, first, last, process, num_processes)


class ProcessBatches(Sequence[list[BatchSpec]]):
    """A lazy sequence: the batches that one process runs in each step."""

    def __init__(
        self, sampler: BatchSampler, first: int, last: int, process: int, num_processes: int
    ) -> None:
        self.sampler = sampler
        self.first = first
        self.last = last
        self.process = process
        self.num_processes = num_processes

    def __len__(self) -> int:
        return self.last - self.first

    def __getitem__(self, position: int | slice) -> list[BatchSpec]:  # type: ignore[override]
        assert isinstance(position, int)
        if not 0 <= position < len(self):
            raise IndexError(position)
        of_all = self.sampler.micro_batches(self.first + position, self.num_processes)
        return of_all[self.process :: self.num_processes]


def cut_evenly(
    rows: NDArray[np.int64], lengths: NDArray[np.int64], num: int
) -> list[NDArray[np.int64]]:
    """Cut samples into `num` parts of about as many tokens, none of them empty."""
    ends = np.cumsum(lengths)
    number = np.arange(1, num)
    cuts = np.searchsorted(ends, ends[-1] * number / num)
    cuts = np.maximum.accumulate(np.maximum(cuts, number) - number) + number
    return np.split(rows, np.minimum(cuts, len(rows) - num + number))


@lru_cache(maxsize=2)
def _permutation(length: int, seed: int, epoch: int) -> NDArray[np.int64]:
    source = generator(seed, "order", epoch)
    order: NDArray[np.int64] = torch.randperm(length, generator=source).numpy()
    return order
