"""Predictions of a trained member for some samples, with any subset of the modalities."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from clintune.cohort.samples import Samples
from clintune.contracts import Batch, Predictions
from clintune.core.precision import computing_in
from clintune.evaluation.ablations import WHOLE
from clintune.evaluation.subjects import per_subject
from clintune.model.batching import Batches, Draw
from clintune.model.pieces import PieceSource
from clintune.package.contents import Package
from clintune.training.order import inference_draws

Predicted = dict[str, NDArray[np.float32]]
"""Task to predictions [N, P]."""


def predict_member(
    package: Package,
    caches: Mapping[str, PieceSource],
    samples: Samples,
    rows: NDArray[np.int64],
    variants: Mapping[str, frozenset[str]],
    *,
    batch_size: int,
    accelerator: Accelerator,
) -> dict[str, Predicted]:
    """Return the predictions for `rows` under each variant, which names the modalities that are kept.

    They are averaged over the augmented views where the recipe says so. The processes share the batches, and each
    returns all of them.
    """
    views = []
    for view in range(_num_views(package)):
        draws = inference_draws(rows, batch_size, view)
        mine = draws[accelerator.process_index :: accelerator.num_processes]
        with accelerator.autocast():
            done = _predict_draws(package, caches, samples, mine, variants, accelerator.device)
        views.append(_in_order(gather_object([done]), len(draws)))
    return average(views)


def predict_alone(
    package: Package,
    sources: Mapping[str, PieceSource],
    samples: Samples,
    rows: NDArray[np.int64],
    *,
    batch_size: int,
    precision: str,
    device: torch.device,
) -> Predicted:
    """Return the predictions for `rows` from all modalities, as `predict_member`, whatever other processes do."""
    everything = {WHOLE: frozenset(package.model.modalities)}
    views = []
    for view in range(_num_views(package)):
        draws = inference_draws(rows, batch_size, view)
        with computing_in(precision, device):
            done = _predict_draws(package, sources, samples, draws, everything, device)
        views.append(_in_order([done], len(draws)))
    return average(views)[WHOLE]


def average(several: Sequence[dict[str, Predicted]]) -> dict[str, Predicted]:
    """Average predictions of the same variants and tasks."""
    return {
        variant: {task: np.mean([part[variant][task] for part in several], axis=0) for task in by_task}
        for variant, by_task in several[0].items()
    }


def to_predictions(
    samples: Samples,
    rows: NDArray[np.int64],
    task: str,
    predicted: NDArray[np.float32],
    fold: int,
    by_subject: bool,
) -> Predictions:
    """Return the predictions of one task for the samples `rows`, averaged by subject if asked."""
    predictions = Predictions(
        cohort=samples.cohort[rows],
        subject_id=samples.subject_id[rows],
        prediction_time=samples.prediction_time[rows].tolist(),
        fold=np.full(len(rows), fold, np.int64),
        targets=samples.targets(task)[rows],
        predicted=predicted,
    )
    return per_subject(predictions) if by_subject else predictions


def concatenate(parts: Sequence[Predictions]) -> Predictions:
    """Return the predictions of several units as one."""
    return Predictions(
        cohort=np.concatenate([part.cohort for part in parts]),
        subject_id=np.concatenate([part.subject_id for part in parts]),
        prediction_time=[time for part in parts for time in part.prediction_time],
        fold=np.concatenate([part.fold for part in parts]),
        targets=np.concatenate([part.targets for part in parts]),
        predicted=np.concatenate([part.predicted for part in parts]),
    )


def _num_views(package: Package) -> int:
    return max(part.views for part in package.model.encoders.values()) if package.config.model.average_views else 1


@torch.inference_mode()
def _predict_draws(
    package: Package,
    sources: Mapping[str, PieceSource],
    samples: Samples,
    draws: Sequence[Draw],
    variants: Mapping[str, frozenset[str]],
    device: torch.device,
) -> list[dict[str, Predicted]]:
    """Return the predictions of each batch under every variant."""
    filled = Batches(samples, package.model.encoders, sources, zero_fill=package.config.model.zero_fill)
    batches = DataLoader(filled, sampler=draws, batch_size=None)
    return [_run(package, batch.to(device), variants) for batch in batches]


def _run(package: Package, batch: Batch, variants: Mapping[str, frozenset[str]]) -> dict[str, Predicted]:
    """Return the predictions of one batch under every variant."""
    everything = set(package.model.modalities)
    results: dict[str, Predicted] = {}
    for variant, kept in variants.items():
        outputs = package.model(batch.without(everything - kept))
        results[variant] = {name: task.predict(outputs[name]).cpu().numpy() for name, task in package.tasks.items()}
    return results


def _in_order(by_process: list[list[dict[str, Predicted]]], num_draws: int) -> dict[str, Predicted]:
    """Join the batches again, of which process p of P had every P-th."""
    batches = [by_process[i % len(by_process)][i // len(by_process)] for i in range(num_draws)]
    return {
        variant: {task: np.concatenate([batch[variant][task] for batch in batches]) for task in by_task}
        for variant, by_task in batches[0].items()
    }
