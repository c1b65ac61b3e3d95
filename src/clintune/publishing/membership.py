"""Membership inference: how well a stranger with the model could tell who was in the training data.

The attack takes the sample with the smaller loss for the one trained on (Yeom et al., CSF 2018). Its AUROC is 0.5 where
the model treats both alike, and grows as it remembers.
"""

from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import replace

import numpy as np
from accelerate import Accelerator
from meds.schema import held_out_split, train_split
from numpy.typing import NDArray

from clintune import metrics
from clintune.cohort.samples import Samples
from clintune.evaluation.ablations import WHOLE, variants
from clintune.evaluation.intervals import Floats, Interval, Scored, intervals
from clintune.evaluation.predict import Probabilities, average, predict_member, to_predictions
from clintune.package.contents import Package
from clintune.training.prepare import fill_caches
from clintune.training.workspace import Workspace

MOST_SAMPLES = 10_000
"""Samples of either side that are attacked, drawn at random where there are more."""
Float32s = NDArray[np.float32]


def membership_inference(
    workspace: Workspace,
    members: Iterable[Package],
    rows: Mapping[str, NDArray[np.int64]],
    accelerator: Accelerator,
    *,
    replicates: int = 1000,
) -> Interval | None:
    """Return the AUROC of the attack on `members`, which answer together; None where nothing is held out.

    Both sides are predicted alike, in the plain view of their items. `rows` are those of each split.
    """
    inside, outside = (_some(rows[split]) for split in (train_split, held_out_split))
    if not len(inside) or not len(outside):
        return None
    attacked = np.concatenate([inside, outside])
    together = average([_predict(workspace, member, attacked, accelerator) for member in members])[WHOLE]
    samples = workspace.samples
    scores = -mean_losses(samples, attacked, together)
    is_member = np.repeat(np.array([1, 0], np.float32), [len(inside), len(outside)])
    predictions = to_predictions(samples, attacked, samples.tasks[0], scores[:, None], 0, False)
    attack = Scored(replace(predictions, targets=is_member[:, None]), _auroc)
    return intervals({"attack": attack}, replicates=replicates)["attack"]["auroc"]


def mean_losses(samples: Samples, rows: NDArray[np.int64], probabilities: Probabilities) -> Float32s:
    """Return the log loss of each sample [N], the mean over its known labels."""
    losses = [log_losses(samples.targets(task)[rows], values) for task, values in probabilities.items()]
    means: Float32s = np.nanmean(np.concatenate(losses, axis=1), axis=1)
    return means


def log_losses(targets: Float32s, probabilities: Float32s) -> Float32s:
    """Return minus the log of the probability of each known answer [N, T], NaN where it is unknown."""
    if targets.shape[1] < probabilities.shape[1]:
        known = np.nan_to_num(targets).astype(np.int64)
        right = np.take_along_axis(probabilities, known, axis=1)
    else:
        right = np.where(targets == 1, probabilities, 1 - probabilities)
    losses = -np.log(np.maximum(right, np.finfo(np.float32).tiny))
    return np.where(np.isnan(targets), np.nan, losses).astype(np.float32)


def _predict(
    workspace: Workspace, package: Package, rows: NDArray[np.int64], accelerator: Accelerator
) -> dict[str, Probabilities]:
    package = replace(package, config=deepcopy(package.config))
    package.config.model.average_views = False
    caches, _ = fill_caches(workspace, package.model.encoders, package.statistics, rows, accelerator.device)
    whole = {WHOLE: variants(workspace.modalities)[WHOLE]}
    size = workspace.config.trainer.micro_batch_size
    return predict_member(package, caches, workspace.samples, rows, whole, batch_size=size, accelerator=accelerator)


def _some(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    if len(rows) <= MOST_SAMPLES:
        return rows
    return np.sort(np.random.default_rng(0).choice(rows, MOST_SAMPLES, replace=False))


def _auroc(targets: Float32s, scores: Float32s, weights: Floats) -> dict[str, Floats]:
    return {"auroc": metrics.auroc(targets, scores, weights)}
