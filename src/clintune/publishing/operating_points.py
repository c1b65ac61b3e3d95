"""Operating points: thresholds chosen on tuning samples, and what they do on held-out ones."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clintune.contracts import Predictions
from clintune.evaluation.calibration import coarse
from clintune.evaluation.disclosure import SMALLEST_SHOWN
from clintune.evaluation.intervals import Floats, Interval, Score, Scored, intervals

AIM = 0.9
Float32s = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class OperatingPoint:
    """A threshold on calibrated probabilities and its scores; a score that rests on under 11 samples is left out."""

    aim: str
    threshold: float
    scores: Mapping[str, Interval]


def operating_points(tuning: Predictions, held_out: Predictions, *, replicates: int = 1000) -> list[OperatingPoint]:
    """Choose the thresholds of one yes-or-no output on `tuning`, score them on `held_out`; both calibrated [N, 1].

    Returns none where a class has fewer than 11 tuning samples.
    """
    known = ~np.isnan(tuning.targets[:, 0])
    truth, risks = tuning.targets[known, 0] == 1, tuning.probabilities[known, 0]
    if min(truth.sum(), (~truth).sum()) < SMALLEST_SHOWN:
        return []
    points = []
    for aim, threshold in thresholds(truth, risks).items():
        scored = Scored(held_out, _score_at(threshold))
        scores = intervals({"output": scored}, replicates=replicates)["output"]
        counts = _denominators(held_out, threshold)
        shown = {name: score for name, score in scores.items() if counts[name] >= SMALLEST_SHOWN}
        points.append(OperatingPoint(aim=aim, threshold=threshold, scores=shown))
    return points


def thresholds(truth: NDArray[np.bool_], risks: Float32s) -> dict[str, float]:
    """Return the least risks called positive for 90 % sensitivity, 90 % specificity, and Youden's index (1950).

    They are rounded, so that none is the risk of one patient, and reach what they aim at all the same.
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


def _score_at(threshold: float) -> Score:
    """Return what scores [N, 1] at a threshold under weights [R, N]."""

    def score(targets: Float32s, probabilities: Float32s, weights: Floats) -> dict[str, Floats]:
        return {
            name: _ratio(weights @ (part & right), weights @ part)
            for name, (part, right) in _parts(targets, probabilities, threshold).items()
        }

    return score


def _parts(
    targets: Float32s, probabilities: Float32s, threshold: float
) -> dict[str, tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
    """Return for each score which samples [N] it is a share of, and which [N] the threshold gets right."""
    known, positive = ~np.isnan(targets[:, 0]), targets[:, 0] == 1
    flagged = probabilities[:, 0] >= np.float32(threshold)
    right = flagged == positive
    return {
        "sensitivity": (known & positive, right),
        "specificity": (known & ~positive, right),
        "PPV": (known & flagged, right),
        "NPV": (known & ~flagged, right),
    }


def _denominators(predictions: Predictions, threshold: float) -> dict[str, int]:
    parts = _parts(predictions.targets, predictions.probabilities, threshold)
    return {name: int(part.sum()) for name, (part, _) in parts.items()}


def _ratio(numerator: Floats, denominator: Floats) -> Floats:
    quotient: Floats = np.full(len(denominator), np.nan)
    np.divide(numerator, denominator, out=quotient, where=denominator != 0)
    return quotient
