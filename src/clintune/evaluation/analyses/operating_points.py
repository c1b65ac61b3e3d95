"""Operating points: thresholds chosen on tuning samples, and what they do on held-out ones."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clintune.contracts import Predictions
from clintune.core.disclosure import SMALLEST_SHOWN
from clintune.evaluation.context import HELD_OUT, TUNING, Context
from clintune.evaluation.intervals import intervals, to_json
from clintune.evaluation.page import Page, output_name
from clintune.evaluation.scored import Scored
from clintune.metrics import Metric
from clintune.metrics.base import AnyFloats, Floats, divide
from clintune.report.section import Section, Text
from clintune.report.table import Number, Row, Score, Table
from clintune.tasks.calibration import coarse

ON_CARD = True
AIM = 0.9
_OF = {
    "sensitivity": "samples with the outcome",
    "specificity": "samples without it",
    "PPV": "flagged samples",
    "NPV": "samples that are not flagged",
}
"""What each score at a threshold is a share of."""
Float32s = NDArray[np.float32]


def run(context: Context) -> dict[str, Any] | None:
    """Return the points of each yes-or-no view, those with none left out.

    Thresholds belong to one model: None for the folds of a run together.
    """
    if context.split is None:
        return None
    found = {}
    for name, part in context.calibrated.get(TUNING, {}).items():
        for view in context.tasks[name].binary_views:
            held_out = view.of(context.calibrated[HELD_OUT][name])
            points = operating_points(view.of(part), held_out, replicates=context.replicates)
            found[output_name(name, view.name)] = points
    return {name: points for name, points in found.items() if points}


def section(result: Mapping[str, Any], page: Page) -> Section:
    """Return a table of the thresholds."""
    if not result:
        none = f"None: no yes-or-no output has {SMALLEST_SHOWN} tuning samples of each class."
        return Section("Operating points", [Text(none)])

    rows = [
        Row([output, point["aim"], Number(point["threshold"], None), *_scores(point)])
        for output, points in result.items()
        for point in points
    ]
    explained = (
        "Thresholds on calibrated probabilities, chosen on tuning samples; scores on held-out ones."
    )
    few = f"A score that rests on fewer than {SMALLEST_SHOWN} samples is left out."
    titles = [name if name.isupper() else name.capitalize() for name in _OF]
    table = Table(["Output", "Chosen for", "Threshold", *titles], rows)
    return Section("Operating points", [Text(explained), table, Text(few, "note")])


def _scores(point: Mapping[str, Any]) -> list[Score]:
    return [Score(point["scores"].get(name), absent="too few") for name in _OF]


def operating_points(
    tuning: Predictions, held_out: Predictions, *, replicates: int = 1000
) -> list[dict[str, Any]]:
    """Choose the thresholds of one yes-or-no output on `tuning`, score them on `held_out` [N, 1].

    Both are calibrated. Returns the `aim`, `threshold` and `scores` of each, and none where a class
    has fewer than 11 tuning samples; a score that rests on under 11 samples is left out.
    """
    known = ~np.isnan(tuning.targets[:, 0])
    truth, risks = tuning.targets[known, 0] == 1, tuning.predicted[known, 0]
    if min(truth.sum(), (~truth).sum()) < SMALLEST_SHOWN:
        return []

    points = []
    for aim, threshold in thresholds(truth, risks).items():
        scored = Scored(held_out, _metrics_at(threshold))
        scores = to_json(intervals({"output": scored}, replicates=replicates))["output"]
        counts = _denominators(held_out, threshold)
        shown = {name: score for name, score in scores.items() if counts[name] >= SMALLEST_SHOWN}
        points.append({"aim": aim, "threshold": threshold, "scores": shown})
    return points


def thresholds(truth: NDArray[np.bool_], risks: Float32s) -> dict[str, float]:
    """Return the least risks called positive for 90 % sensitivity, 90 % specificity and Youden.

    Youden's index (1950) is the sum of both. Risks are rounded, so that none is that of one
    patient, and reach what they aim at all the same.
    """
    candidates = np.unique([coarse(risks, more) for more in (0, 1, 2)]).astype(np.float32)
    positives, negatives = np.sort(risks[truth]), np.sort(risks[~truth])
    sensitivity = 1 - np.searchsorted(positives, candidates) / len(positives)
    specificity = np.searchsorted(negatives, candidates) / len(negatives)
    chosen = {
        f"sensitivity {AIM:.0%}": np.flatnonzero(sensitivity >= AIM)[-1],
        f"specificity {AIM:.0%}": np.flatnonzero(specificity >= AIM)[0],
        "Youden": (sensitivity + specificity).argmax(),
    }
    return {aim: float(candidates[i]) for aim, i in chosen.items()}


def _metrics_at(threshold: float) -> list[Metric]:
    """Return sensitivity, specificity, PPV and NPV of risks [N, 1] at a threshold."""

    def share(name: str) -> Metric:
        def compute(targets: Floats, risks: AnyFloats, weights: Floats) -> Floats:
            part, right = _parts(targets, risks, threshold)[name]
            return divide(weights @ (part & right), weights @ part)

        return Metric(
            name=name,
            title=name,
            meaning=f"Share of {_OF[name]} that the threshold gets right.",
            compute=compute,
        )

    return [share(name) for name in _OF]


def _parts(
    targets: AnyFloats, risks: AnyFloats, threshold: float
) -> dict[str, tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
    """Return for each score which samples [N] it is a share of, and which [N] are right."""
    known, positive = ~np.isnan(targets[:, 0]), targets[:, 0] == 1
    flagged = risks[:, 0] >= np.float32(threshold)
    right = flagged == positive
    return {
        "sensitivity": (known & positive, right),
        "specificity": (known & ~positive, right),
        "PPV": (known & flagged, right),
        "NPV": (known & ~flagged, right),
    }


def _denominators(predictions: Predictions, threshold: float) -> dict[str, int]:
    parts = _parts(predictions.targets, predictions.predicted, threshold)
    return {name: int(part.sum()) for name, (part, _) in parts.items()}
