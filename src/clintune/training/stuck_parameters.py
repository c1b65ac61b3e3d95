"""The check that training trains: every trainable tensor that can learn must get a gradient as soon as it can."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from clintune.core.errors import TrainingError
from clintune.training.sharding import all_reduce_sum

Seen = set[tuple[str, str]]
"""Modality and task of which some sample had items and a label: in several cohorts not all pairs ever meet."""
_BIAS_OF_KEYS = re.compile(r"\.(key|k_proj|k_lin)\.bias$")
"""It adds the same to all scores of a query, which softmax takes away: its gradient is rounding, and may be none."""
_SEEN_IN_HALF_PRECISION = 1e-6
"""What a weight must have moved from zero for fp16, whose smallest number is 6e-8, to tell it from zero."""
_CHANCES = 200
"""Steps with data in which a tensor that is read may get zeros alone."""
_NAMED = 3
_NOTHING_READS_THEM = (
    "nothing that is trained reads them: freeze them (mode, adapter.targets), or take them out"
)


class StuckParameterCheck:
    """Watches the first steps until each trainable tensor has had a gradient.

    The first moment of AdamW tells, rather than the weights: in a long warm-up a step is less than their rounding, and
    weight decay moves what learns nothing. A tensor has its chance once its part had data; a LoRA A matrix not before
    its B, of which its gradient is a multiple, has left zero. What only some rows reach, as the values of a code that
    mostly has none, gets zeros until one comes: unless a cause is known, it has many chances.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter], optimizer: Any) -> None:
        self.parameters = parameters
        self.optimizer = optimizer
        self.groups = {id(p): group for group in optimizer.param_groups for p in group["params"]}
        self.still = [name for name in parameters if not _BIAS_OF_KEYS.search(name)]
        self.chances = dict.fromkeys(self.still, 0)
        self.moved = dict.fromkeys(self.still, 0.0)
        """How far AdamW may have moved each by now: the sum of its rates."""

    def after_step(self, step: int, seen: Seen, causes: Sequence[str] = ()) -> None:
        """Check after an optimizer step in which these modalities met labels of these tasks; all processes take part.

        Raises TrainingError naming the tensors that had their chance and got no gradient, and what may be the cause.
        """
        if not self.still:
            return
        without, read = self._without_gradient()
        had = [name for name in without if _had_data(name, seen) and self._could_learn(name)]
        for name in had:
            self.chances[name] += 1
        stuck = [
            name for name in had if causes or name not in read or self.chances[name] >= _CHANCES
        ]
        if stuck:
            listed = ", ".join(stuck[:_NAMED])
            more = f" and {len(stuck) - _NAMED} more" if len(stuck) > _NAMED else ""
            raise TrainingError(
                f"step {step}: {len(stuck)} of {len(self.parameters)} trainable tensors did not change: "
                f"{listed}{more}; {'; '.join(causes) or _NOTHING_READS_THEM}"
            )

        self.still = without
        for name in self.still:
            if _had_data(name, seen):
                self.moved[name] += self.groups[id(self.parameters[name])]["lr"]

    def _without_gradient(self) -> tuple[list[str], set[str]]:
        """Return the tensors that had no gradient yet but zeros, and those which had zeros, in any process."""
        moments = [
            self.optimizer.state.get(self.parameters[name], {}).get("exp_avg")
            for name in self.still
        ]
        has_one = torch.stack(
            [torch.zeros((), dtype=torch.bool) if m is None else _any(m) for m in moments]
        )
        numbers = all_reduce_sum(
            [*has_one.double().tolist(), *(float(m is not None) for m in moments)]
        )
        count = len(self.still)
        without = [
            name for name, number in zip(self.still, numbers[:count], strict=True) if not number
        ]
        return without, {
            name for name, number in zip(self.still, numbers[count:], strict=True) if number
        }

    def _could_learn(self, name: str) -> bool:
        return ".lora_A." not in name or self.moved[name] > _SEEN_IN_HALF_PRECISION


def _any(moment: Tensor) -> Tensor:
    """Return whether this process's share of a tensor holds anything but zeros."""
    return (moment.to_local() if isinstance(moment, DTensor) else moment).any().cpu()


def _had_data(name: str, seen: Seen) -> bool:
    part = name.split(".")
    if part[0] in {"modalities", "projectors", "modality_embedding"}:
        return any(modality == part[1] for modality, _ in seen)
    if part[0] == "heads" and part[2] == "of_features":
        return (part[3], part[1]) in seen
    if part[0] == "heads":
        return any(task == part[1] for _, task in seen)
    return bool(seen)
