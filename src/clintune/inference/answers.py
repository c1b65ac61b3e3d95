"""What is asked of a model and what it answers.

Axes beside those of `contracts`: G questions of a task, at least one column.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clintune.inference.forward import Predicted


class Problem(NamedTuple):
    """Why the answer to a sample, by its place in what was asked, is withheld; of which item."""

    sample: int
    modality: str | None
    row: str | None
    reason: str


@dataclass(frozen=True, kw_only=True)
class Answers:
    """Answers to N samples by task: as the model gives them, calibrated, and where it abstains.

    `raw` and `calibrated` are [N, P], NaN where not finite; of a task without questions both are
    alike. `abstained` is [N, G], `not_finite` [N]. `lacks` is which samples have nothing of a
    modality [N].
    """

    raw: Predicted
    calibrated: Predicted
    abstained: Mapping[str, NDArray[np.bool_]]
    not_finite: Mapping[str, NDArray[np.bool_]]
    lacks: Mapping[str, NDArray[np.bool_]]
    problems: Sequence[Problem]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How samples are answered."""

    batch_size: int = 64
    precision: str | None = None
    """`fp32`, `bf16` or `fp16`; None: each member's own, in which the run was evaluated."""
    workers: int = 0
    """Processes that prepare items, where there are many."""
    max_bad_fraction: float = 0.1
    """Share of a modality's items that may be unreadable before an error says so."""
    listed: Path | None = None
    """Where the unreadable items are listed then."""
    together: str = "items"
    """What these are called."""
