"""Membership inference: how well a stranger with the model could tell who was in the training data.

The attack takes the sample with the smaller loss for the one trained on (Yeom et al., CSF 2018). Its AUROC is 0.5 where
the model treats both alike, and grows as it remembers.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np
from accelerate import Accelerator
from meds.schema import held_out_split, train_split
from numpy.typing import NDArray

from clintune.cohort.samples import Samples
from clintune.evaluation.ablations import WHOLE, variants
from clintune.evaluation.intervals import Interval, intervals
from clintune.evaluation.predict import to_predictions
from clintune.evaluation.scored import Scored
from clintune.experiment.fold_data import precompute_pieces
from clintune.experiment.open import Experiment
from clintune.inference.forward import Predicted, average, predict_member
from clintune.layers.precision import resolve_precision
from clintune.metrics.classification import auroc
from clintune.package.contents import Package
from clintune.tasks.base import Task

MOST_SAMPLES = 10_000
"""Samples of either side that are attacked, drawn at random where there are more."""
Float32s = NDArray[np.float32]


def membership_inference(
    experiment: Experiment,
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
    together = average([_predict(experiment, member, attacked, accelerator) for member in members])[
        WHOLE
    ]
    samples = experiment.samples
    scores = -mean_losses(samples, experiment.tasks, attacked, together)
    is_member = np.repeat(np.array([1, 0], np.float32), [len(inside), len(outside)])
    predictions = to_predictions(samples, attacked, samples.tasks[0], scores[:, None], 0, False)
    attack = Scored(replace(predictions, targets=is_member[:, None]), [auroc])
    return intervals({"attack": attack}, replicates=replicates)["attack"][auroc.name]


def mean_losses(
    samples: Samples, tasks: Mapping[str, Task], rows: NDArray[np.int64], predicted: Predicted
) -> Float32s:
    """Return the loss of each sample [N], the mean over the tasks whose label is known."""
    losses = [
        tasks[name].sample_loss(samples.targets(name)[rows], values)
        for name, values in predicted.items()
    ]
    means: Float32s = np.nanmean(np.stack(losses), axis=0)
    return means


def _predict(
    experiment: Experiment, package: Package, rows: NDArray[np.int64], accelerator: Accelerator
) -> dict[str, Predicted]:
    caches, _ = precompute_pieces(
        experiment, package.model.encoders, package.statistics, rows, accelerator.device
    )
    return predict_member(
        package,
        caches,
        experiment.samples,
        rows,
        {WHOLE: variants(experiment.modalities)[WHOLE]},
        batch_size=experiment.config.trainer.micro_batch_size,
        precision=resolve_precision(experiment.config.trainer.precision),
        views=1,
        processes=accelerator,
    )


def _some(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    if len(rows) <= MOST_SAMPLES:
        return rows
    return np.sort(np.random.default_rng(0).choice(rows, MOST_SAMPLES, replace=False))
