"""Settings and results of a model that answers samples.

Axes beside those of `contracts`: G questions of a task, or one column for a task without questions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clintune.inference.forward import Predicted


class SampleProblem(NamedTuple):
    """A reason to abstain from a sample, and the item that it is about.

    `sample` is the place of the sample among those that were asked for.
    """

    sample: int
    modality: str | None
    row: str | None
    reason: str


@dataclass(frozen=True, kw_only=True)
class Answers:
    """Answers to N samples by task: raw, calibrated, and where the model abstains.

    `raw` and `calibrated` are [N, P], NaN where not finite; for a task without questions they are
    equal. `abstained` is [N, G], `not_finite` [N]. `lacks` says by modality which samples have no
    item of it [N].
    """

    raw: Predicted
    calibrated: Predicted
    abstained: Mapping[str, NDArray[np.bool_]]
    not_finite: Mapping[str, NDArray[np.bool_]]
    lacks: Mapping[str, NDArray[np.bool_]]
    problems: Sequence[SampleProblem]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of a model that answers samples."""

    batch_size: int = 64
    precision: str | None = None
    """`fp32`, `bf16` or `fp16`; None means that of each member, in which the run was evaluated."""
    workers: int = 0
    """Number of processes that preprocess items, where there are many items."""
    max_bad_fraction: float = 0.1
    """Share of a modality's items that may be unreadable; above it there is an error."""
    listed: Path | None = None
    """File that then lists the unreadable items."""
    what: str = "items"
    """Name of these items in the error."""
