"""Optimizer, learning rate schedule and moving average of the weights."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from clintune.config.schema import Trainer
from clintune.core.errors import ConfigError

NEW_PARTS = ("projectors.", "modality_embedding.", "time_embedding.", "queries", "heads.")
"""Parts that start untrained and learn at `trainer.head_lr`."""


def make_optimizer(parameters: Mapping[str, nn.Parameter], trainer: Trainer) -> torch.optim.AdamW:
    """Return AdamW over the trainable parameters.

    Vectors (biases, norms, modality embeddings) and the queries have no weight decay. Raises
    ConfigError where a learning rate of 0 would leave some parameters as they are.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    head_lr = trainer.lr if trainer.head_lr is None else trainer.head_lr
    for name, parameter in parameters.items():
        rate = head_lr if name.startswith(NEW_PARTS) else trainer.lr
        decay = trainer.weight_decay if parameter.ndim > 1 and name != "queries" else 0.0
        if not rate:
            key = "head_lr" if name.startswith(NEW_PARTS) and trainer.head_lr is not None else "lr"
            raise ConfigError(
                f"trainer.{key} is 0: {name} and others would not learn; raise it, or freeze them"
            )
        groups.setdefault((rate, decay), []).append(parameter)

    settings = [
        {"params": group, "lr": rate, "initial_lr": rate, "weight_decay": decay}
        for (rate, decay), group in groups.items()
    ]
    return torch.optim.AdamW(settings, fused=True)


def schedule(trainer: Trainer, step: int, num_steps: int) -> float:
    """Return the factor of the learning rate at a step: linear warm-up, then the chosen decay.

    It is never 0 in warm-up. Unlike the scheduler of `transformers.get_scheduler`, it is a function
    of the step: a checkpoint keeps no state of it, and the first step of a warm-up trains. Raises
    ConfigError for a decay that does not exist.
    """
    num_warmup = round(trainer.warmup * num_steps)
    if step < num_warmup:
        return (step + 1) / num_warmup

    done = (step - num_warmup) / max(1, num_steps - num_warmup)
    if trainer.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * done))
    if trainer.schedule == "linear":
        return 1 - done
    if trainer.schedule == "constant":
        return 1.0
    raise ConfigError(
        f"trainer.schedule '{trainer.schedule}' does not exist; use cosine, linear or constant"
    )


def set_rate(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Set every group's learning rate to `factor` times its own."""
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * factor


class WeightEMA:
    """An exponential moving average of the trainable weights; decay 0 means no average.

    In early steps the decay is smaller, so that the first weights do not weigh too much.
    `torch.optim.swa_utils.AveragedModel` would copy the frozen weights too.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter], decay: float) -> None:
        self.parameters = parameters
        self.decay = decay
        self.values: dict[str, Tensor] = (
            {name: p.detach().clone() for name, p in parameters.items()} if decay else {}
        )

    def update(self, step: int) -> None:
        """Take in the weights after step `step` (1 is the first)."""
        if self.values:
            decay = min(self.decay, step / (step + 10))
            average = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
            average([*self.values.values()], [self.parameters[name] for name in self.values], step)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Give the model the averaged weights inside the block."""
        trained = {name: self.parameters[name].detach().clone() for name in self.values}
        copy_into(self.parameters, self.values)
        try:
            yield
        finally:
            copy_into(self.parameters, trained)


@torch.no_grad()
def copy_into(parameters: Mapping[str, nn.Parameter], values: Mapping[str, Tensor]) -> None:
    """Copy values into the parameters of the same names."""
    for name, value in values.items():
        parameters[name].copy_(value)
