"""Losses as sums over known targets: unknown ones add nothing to value, count or gradient."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from clintune.tasks.questions import Question


def known_cross_entropy(
    outputs: Tensor, targets: Tensor, class_weights: Sequence[float] = (1.0, 1.0)
) -> tuple[Tensor, Tensor]:
    """Return the sum of binary cross-entropies of logits and targets [N, T], and the known number.

    Unknown targets (NaN) are replaced before the loss, because a NaN behind a mask still poisons
    the gradient.
    """
    known = ~targets.isnan()
    logits = torch.where(known, _float32_or_finer(outputs), 0.0)
    truth = torch.where(known, targets.to(logits.dtype), 0.0)
    negative, positive = class_weights
    weights = torch.where(known, negative + truth * (positive - negative), 0.0)
    total = functional.binary_cross_entropy_with_logits(
        logits, truth, weight=weights, reduction="sum"
    )
    return total, known.sum()


def known_class_cross_entropy(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return the sum of cross-entropies of logits [N, O] and classes [N, 1], and known number."""
    known = ~targets.isnan()
    logits = torch.where(known, _float32_or_finer(outputs), 0.0)
    truth = torch.where(known, targets, 0.0).long()
    losses = functional.cross_entropy(logits, truth[:, 0], reduction="none")
    return torch.where(known[:, 0], losses, 0.0).sum(), known.sum()


def log_losses(
    questions: Sequence[Question], targets: NDArray[np.float32], predicted: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return the log loss of each sample [N].

    It is the mean over the questions whose answer is known; NaN where none is.
    """
    losses = []
    for question in questions:
        column, chances = targets[:, question.column], question.chances(predicted)
        answer = np.nan_to_num(column).astype(np.int64)
        right = np.take_along_axis(chances, answer[:, None], axis=1)[:, 0]
        loss = -np.log(np.maximum(right, np.finfo(np.float32).tiny))
        losses.append(np.where(np.isnan(column), np.nan, loss))

    # Average over the questions whose answer is known.
    table = np.stack(losses)
    known = ~np.isnan(table)
    sums, counts = np.where(known, table, 0.0).sum(axis=0), known.sum(axis=0)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan).astype(np.float32)


def _float32_or_finer(outputs: Tensor) -> Tensor:
    """Return outputs of half precision in float32; a probe is searched in float64, which stays."""
    return outputs.to(torch.promote_types(outputs.dtype, torch.float32))
