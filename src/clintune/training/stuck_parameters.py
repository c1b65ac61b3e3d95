"""The check that training trains: every trainable tensor must get a gradient as soon as it can."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from clintune.core.errors import TrainingError
from clintune.training.sharding import all_reduce_sum

LabelledPairs = set[tuple[str, str]]
"""Pairs of modality and task of which some sample had items and a label.

In several cohorts not all pairs ever meet.
"""
_BIAS_OF_KEYS = re.compile(r"\.(key|k_proj|k_lin)\.bias$")
"""The bias of keys adds the same to all scores of a query, which softmax takes away.

Its gradient is rounding, and may be none.
"""
_SEEN_IN_HALF_PRECISION = 1e-6
"""How far from zero a weight must have moved for fp16, whose smallest number is 6e-8, to tell."""
_CHANCES = 200
"""Steps with data in which a tensor that is read may get zeros alone."""
_NAMED = 3
_NOTHING_READS_THEM = (
    "nothing that is trained reads them: freeze them (mode, adapter.targets), or take them out"
)


class StuckParameterCheck:
    """Watches the first steps until each trainable tensor has had a gradient.

    The first moment of AdamW tells, rather than the weights: in a long warm-up a step is less than
    their rounding, and weight decay moves what learns nothing. A tensor has its chance once its
    part had data. A LoRA A matrix has none before its B has left zero, since its gradient is a
    multiple of B. What only some rows reach, as the values of a code that mostly has none, gets
    zeros until such a row comes: unless a cause is known, it has many chances.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter], optimizer: Any) -> None:
        self.parameters = parameters
        self.optimizer = optimizer
        self.groups = {id(p): group for group in optimizer.param_groups for p in group["params"]}
        self.still = [name for name in parameters if not _BIAS_OF_KEYS.search(name)]
        self.chances = dict.fromkeys(self.still, 0)
        self.moved = dict.fromkeys(self.still, 0.0)
        """How far AdamW may have moved each by now: the sum of its rates."""

    def after_step(self, step: int, seen: LabelledPairs, causes: Sequence[str] = ()) -> None:
        """Check after an optimizer step that saw these pairs of modality and task.

        All processes take part. Raises TrainingError naming the tensors that had their chance and
        got no gradient, and what may be the cause.
        """
        if not self.still:
            return

        # Give each tensor that could learn one chance more.
        without, read = self._without_gradient()
        had = [name for name in without if _had_data(name, seen) and self._could_learn(name)]
        for name in had:
            self.chances[name] += 1

        # Refuse those that have had enough of them.
        late = {name for name in had if self.chances[name] >= _CHANCES}
        stuck = [name for name in had if causes or name not in read or name in late]
        if stuck:
            listed = ", ".join(stuck[:_NAMED])
            more = f" and {len(stuck) - _NAMED} more" if len(stuck) > _NAMED else ""
            raise TrainingError(
                f"step {step}: {len(stuck)} of {len(self.parameters)} trainable tensors did not "
                f"change: {listed}{more}; {'; '.join(causes) or _NOTHING_READS_THEM}"
            )

        self.still = without
        for name in self.still:
            if _had_data(name, seen):
                self.moved[name] += self.groups[id(self.parameters[name])]["lr"]

    def _without_gradient(self) -> tuple[list[str], set[str]]:
        """Return the tensors that had no gradient but zeros, and those with any gradient at all.

        What one process had counts for all.
        """
        # Read the first moments.
        states = [self.optimizer.state.get(self.parameters[name], {}) for name in self.still]
        moments = [state.get("exp_avg") for state in states]
        nothing = torch.zeros((), dtype=torch.bool)
        moved = torch.stack([nothing if m is None else _any(m) for m in moments])
        exist = [float(m is not None) for m in moments]

        # Sum over the processes.
        numbers = all_reduce_sum([*moved.double().tolist(), *exist])
        num_moved, num_exist = numbers[: len(self.still)], numbers[len(self.still) :]
        without = [name for name, num in zip(self.still, num_moved, strict=True) if not num]
        read = {name for name, num in zip(self.still, num_exist, strict=True) if num}
        return without, read

    def _could_learn(self, name: str) -> bool:
        return ".lora_A." not in name or self.moved[name] > _SEEN_IN_HALF_PRECISION


def _any(moment: Tensor) -> Tensor:
    """Return whether this process's share of a tensor holds anything but zeros."""
    return (moment.to_local() if isinstance(moment, DTensor) else moment).any().cpu()


def _had_data(name: str, seen: LabelledPairs) -> bool:
    part = name.split(".")
    if part[0] in {"modalities", "projectors", "modality_embedding"}:
        return any(modality == part[1] for modality, _ in seen)
    if part[0] == "heads" and part[2] == "of_features":
        return (part[3], part[1]) in seen
    if part[0] == "heads":
        return any(task == part[1] for _, task in seen)
    return bool(seen)
