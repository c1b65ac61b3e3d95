"""The check that training trains: every trainable tensor that can change must do so as soon as it can."""

import re
from collections.abc import Mapping

import torch
from torch import nn

from clintune.core.errors import TrainingError
from clintune.training.strategy import whole

Seen = set[tuple[str, str]]
"""Modality and task of which some sample had items and a label: in several cohorts not all pairs ever meet."""
_BIAS_OF_KEYS = re.compile(r"\.(key|k_proj|k_lin)\.bias$")
"""It adds the same to all scores of a query, which softmax takes away: its gradient is rounding, and may be none."""


class MovementCheck:
    """Watches the first steps until each trainable tensor has moved.

    A tensor can move once its part had data; a LoRA A matrix one step later, because its gradient is B times something
    and B starts at zero. Fingerprints, not copies, are kept: under `full` there may be billions of weights.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter]) -> None:
        self.parameters = parameters
        self.still = {
            name: _fingerprint(parameter) for name, parameter in parameters.items() if not _BIAS_OF_KEYS.search(name)
        }
        self.chances: dict[str, int] = dict.fromkeys(parameters, 0)

    def after_step(self, step: int, seen: Seen) -> None:
        """Check after an optimizer step in which these modalities met labels of these tasks.

        Raises TrainingError naming the tensors that had their chance and did not change.
        """
        if not self.still:
            return
        stuck = []
        for name in list(self.still):
            if _fingerprint(self.parameters[name]) != self.still[name]:
                del self.still[name]
                continue
            self.chances[name] += _had_data(name, seen)
            if self.chances[name] >= (2 if ".lora_A." in name else 1):
                stuck.append(name)
        if stuck:
            raise TrainingError(
                f"step {step}: {len(stuck)} of {len(self.parameters)} trainable tensors did not change: "
                f"{', '.join(stuck[:8])}; freeze them (mode, adapter.targets) or check the learning rate"
            )


def _had_data(name: str, seen: Seen) -> bool:
    part = name.split(".")
    if part[0] in {"modalities", "projectors", "kinds"}:
        return any(modality == part[1] for modality, _ in seen)
    if part[0] == "heads" and part[2] == "skip":
        return (part[3], part[1]) in seen
    if part[0] == "heads":
        return any(task == part[1] for _, task in seen)
    return bool(seen)


def _fingerprint(parameter: nn.Parameter) -> tuple[float, float]:
    values = whole(parameter.detach()).double()
    weights = torch.arange(1, values.numel() + 1, device=values.device, dtype=torch.float64).reshape(values.shape)
    return float(values.sum()), float((values * weights.sqrt()).sum())
