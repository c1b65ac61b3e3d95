"""Membership inference: how well a stranger with the model could tell who was in the training data.

The attack takes the sample with the smaller loss for the one trained on (Yeom et al., CSF 2018).
Its AUROC is 0.5 where the model treats both alike, and grows as it remembers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clintune.evaluation.context import HELD_OUT, TRAIN, ByTask, Context, Request
from clintune.evaluation.intervals import intervals
from clintune.evaluation.page import Page
from clintune.evaluation.predict import concatenate
from clintune.evaluation.scored import Scored
from clintune.metrics.classification import auroc
from clintune.report.section import Block, Section, Text
from clintune.report.table import Row, Score, Table
from clintune.tasks.base import Task

ON_CARD = True
ATTACKED = "attacked"
CHANCE = 0.5


def requests(modalities: Sequence[str]) -> list[Request]:
    """Return both sides of the attack, which are predicted alike."""
    everything = frozenset(modalities)
    return [Request(variant=ATTACKED, kept=everything, splits=(TRAIN, HELD_OUT), is_plain=True)]


def run(context: Context) -> dict[str, Any] | None:
    """Return the AUROC of the attack; None for the folds of a run together."""
    if context.split is None:
        return None
    inside, outside = (context.raw[split][ATTACKED] for split in (TRAIN, HELD_OUT))
    first = next(iter(inside))
    both = concatenate([inside[first], outside[first]])

    losses = np.r_[mean_losses(inside, context.tasks), mean_losses(outside, context.tasks)]
    is_member = np.repeat([1, 0], [len(inside[first]), len(outside[first])])
    predictions = replace(
        both, targets=is_member.astype(np.float32)[:, None], predicted=-losses[:, None]
    )
    attack = Scored(predictions, [auroc])
    scores = intervals({"attack": attack}, replicates=context.replicates)["attack"]
    return scores[auroc.name].to_json()


def section(result: Mapping[str, Any], page: Page) -> Section:
    """Return the AUROC, and a warning where it is above chance."""
    explained = (
        "Membership inference: of a patient of the training data and one held out, how often the "
        f"smaller loss tells which is which. {CHANCE} is chance."
    )
    table = Table(["Attack", auroc.title], [Row(["Loss threshold", Score(result)])])
    blocks: list[Block] = [Text(explained), table]
    if result["low"] is not None and result["low"] > CHANCE:
        said = "Who was in the training data can be told better than by chance."
        blocks.append(Text(said, "warning"))
    return Section("What the model remembers", blocks)


def mean_losses(predictions: ByTask, tasks: Mapping[str, Task]) -> NDArray[np.float32]:
    """Return the loss of each sample [N], the mean over the tasks whose label is known."""
    losses = [
        tasks[name].sample_loss(part.targets, part.predicted) for name, part in predictions.items()
    ]
    means: NDArray[np.float32] = np.nanmean(np.stack(losses), axis=0)
    return means
