"""What a method leaves: predictions of the held-out samples, and what they cost."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from clintune.evaluation.context import ByTask
from clintune.tasks.base import Task


@dataclass(frozen=True, kw_only=True)
class MethodResult:
    """Held-out predictions by the share of samples that lose a modality, over all folds.

    `parameters` counts what was fitted, None where that is no number of weights; `library` is that
    of a peer.
    """

    predictions: Mapping[float, ByTask]
    tasks: Mapping[str, Task]
    fit_seconds: float
    predict_seconds: float
    parameters: int | None
    library: str | None = None


def predictions_folder(folder: Path, share: float) -> Path:
    """Return where a trial keeps its predictions with so large a share missing."""
    return folder / "predictions" / f"{share:g}"
