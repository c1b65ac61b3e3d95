"""Losses as sums over the known targets: unknown ones add nothing to value, count or gradient."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional


def known_cross_entropy(
    outputs: Tensor, targets: Tensor, class_weights: Sequence[float] = (1.0, 1.0)
) -> tuple[Tensor, Tensor]:
    """Sum the binary cross-entropies of logits and targets, both [N, T]; return (sum, number of known targets).

    Unknown targets (NaN) are replaced before the loss, because a NaN behind a mask still poisons the gradient.
    """
    known = ~targets.isnan()
    logits = torch.where(known, outputs.float(), 0.0)
    truth = torch.where(known, targets.float(), 0.0)
    negative, positive = class_weights
    weights = torch.where(known, negative + truth * (positive - negative), 0.0)
    total = functional.binary_cross_entropy_with_logits(logits, truth, weight=weights, reduction="sum")
    return total, known.sum()


def known_class_cross_entropy(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Sum the cross-entropies of logits [N, O] and class numbers [N, 1]; return (sum, number of known targets)."""
    known = ~targets.isnan()
    logits = torch.where(known, outputs.float(), 0.0)
    truth = torch.where(known, targets, 0.0).long()
    losses = functional.cross_entropy(logits, truth[:, 0], reduction="none")
    return torch.where(known[:, 0], losses, 0.0).sum(), known.sum()
