"""The predictions of one member: the loop over batches, views and subsets of modalities.

Evaluation, scoring, publishing and benchmarks call it, so a sample gets the same answer from each.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from accelerate import Accelerator
from accelerate.utils import gather_object
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from clintune.cohort.samples import Samples
from clintune.contracts import Batch
from clintune.features.batching import Batches, BatchSpec, sequential_batches
from clintune.features.pieces import PieceSource
from clintune.layers.precision import computing_in
from clintune.package.contents import Package

Predicted = dict[str, NDArray[np.float32]]
"""Predictions [N, P] by task."""


def predict_member(
    package: Package,
    sources: Mapping[str, PieceSource],
    samples: Samples,
    rows: NDArray[np.int64],
    variants: Mapping[str, frozenset[str]],
    *,
    batch_size: int,
    precision: str,
    views: int | None = None,
    processes: Accelerator | None = None,
) -> dict[str, Predicted]:
    """Return the predictions for `rows` under each variant, which names the modalities it keeps.

    They are averaged over `views` views, by default over as many as the recipe says. `processes`
    share the batches, and each returns all predictions. Without them this process computes all,
    whatever others do.
    """
    shared_by = 1 if processes is None else processes.num_processes
    first = 0 if processes is None else processes.process_index
    by_view = []

    for view in range(views or num_views(package)):
        specs = sequential_batches(rows, batch_size, view)
        with computing_in(precision, package.model.queries.device):
            done = _predict_batches(package, sources, samples, specs[first::shared_by], variants)
        by_process = [done] if processes is None else gather_object([done])
        by_view.append(_in_order(by_process, len(specs)))

    return average(by_view)


def num_views(package: Package) -> int:
    """Return the number of views of each item that the recipe averages over."""
    if not package.config.model.average_views:
        return 1
    return max(modality.reader.views for modality in package.model.encoders.values())


def average(several: Sequence[dict[str, Predicted]]) -> dict[str, Predicted]:
    """Average predictions of the same variants and tasks, as of views or of members."""
    means: dict[str, Predicted] = {}
    for variant, by_task in several[0].items():
        means[variant] = {}
        for task in by_task:
            means[variant][task] = np.mean([part[variant][task] for part in several], axis=0)
    return means


def _predict_batches(
    package: Package,
    sources: Mapping[str, PieceSource],
    samples: Samples,
    specs: Sequence[BatchSpec],
    variants: Mapping[str, frozenset[str]],
) -> list[dict[str, Predicted]]:
    """Return the predictions of each batch under every variant."""
    zero_fill = package.config.model.zero_fill
    filled = Batches(samples, package.model.encoders, sources, zero_fill=zero_fill)
    batches = DataLoader(filled, sampler=specs, batch_size=None)
    device = package.model.queries.device
    return [_predict_batch(package, batch.to(device), variants) for batch in batches]


def _predict_batch(
    package: Package,
    batch: Batch,
    variants: Mapping[str, frozenset[str]],
) -> dict[str, Predicted]:
    """Return the predictions of one batch under every variant."""
    everything = set(package.model.modalities)
    results: dict[str, Predicted] = {}
    for variant, kept in variants.items():
        predicted = package.predict(batch.without(everything - kept))
        results[variant] = {name: values.cpu().numpy() for name, values in predicted.items()}
    return results


def _in_order(
    by_process: list[list[dict[str, Predicted]]], num_batches: int
) -> dict[str, Predicted]:
    """Join the batches in order; of P processes, process p computed every P-th batch."""
    batches = [by_process[i % len(by_process)][i // len(by_process)] for i in range(num_batches)]
    joined: dict[str, Predicted] = {}
    for variant, by_task in batches[0].items():
        joined[variant] = {}
        for task in by_task:
            joined[variant][task] = np.concatenate([batch[variant][task] for batch in batches])
    return joined
