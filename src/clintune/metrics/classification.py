"""Metrics and curves of binary, multilabel and multiclass predictions."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clintune.metrics.base import (
    AnyFloats,
    Compute,
    Floats,
    Metric,
    defined_mean,
    divide,
    weighted_mean,
)

ECE_BINS = 15


class Calibration(NamedTuple):
    """Mean predicted probability, observed share of positives and number of samples of each bin."""

    predicted: Floats
    observed: Floats
    counts: NDArray[np.int64]


def _flat(compute: Compute) -> Compute:
    """Return `compute`, which reads labelled [N], for columns [N, 1] and unknown targets, too."""

    def labelled(targets: Floats, probabilities: AnyFloats, weights: Floats) -> Floats:
        targets, probabilities = targets.reshape(len(targets)), probabilities.reshape(len(targets))
        known = ~np.isnan(targets)
        return compute(targets[known], probabilities[known], weights[:, known])

    return labelled


def _grouped(targets: Floats, probabilities: AnyFloats, weights: Floats) -> tuple[Floats, Floats]:
    """Return the weights of positives and negatives [R, G] at each distinct probability.

    The highest probability comes first.
    """
    if not len(targets):
        return np.zeros((len(weights), 0)), np.zeros((len(weights), 0))

    # Sort once; tied probabilities form one group.
    order = np.argsort(-probabilities, kind="stable")
    ordered = probabilities[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    total, positive = weights[:, order], (weights * targets)[:, order]
    if len(starts) < len(order):
        total = np.add.reduceat(total, starts, axis=1)
        positive = np.add.reduceat(positive, starts, axis=1)
    return positive, total - positive


def _auroc(targets: Floats, probabilities: AnyFloats, weights: Floats) -> Floats:
    # A tie counts half: half of the positives of a group stand above its negatives.
    positive, negative = _grouped(targets, probabilities, weights)
    above = np.cumsum(positive, axis=1) - positive / 2
    return divide((negative * above).sum(axis=1), positive.sum(axis=1) * negative.sum(axis=1))


def _auprc(targets: Floats, probabilities: AnyFloats, weights: Floats) -> Floats:
    positive, negative = _grouped(targets, probabilities, weights)
    found = np.cumsum(positive, axis=1)
    flagged = found + np.cumsum(negative, axis=1)
    precision = np.divide(found, flagged, out=np.zeros_like(found), where=flagged > 0)
    return divide((positive * precision).sum(axis=1), positive.sum(axis=1))


def _brier(targets: Floats, probabilities: AnyFloats, weights: Floats) -> Floats:
    return weighted_mean((probabilities - targets) ** 2, weights)


def _ece(targets: Floats, probabilities: AnyFloats, weights: Floats) -> Floats:
    # The gap of a bin is the sum of differences in it, under each weighting.
    bins = np.minimum((probabilities * ECE_BINS).astype(np.int64), ECE_BINS - 1)
    gaps = np.zeros((len(targets), ECE_BINS))
    gaps[np.arange(len(targets)), bins] = probabilities - targets
    return divide(np.abs(weights @ gaps).sum(axis=1), weights.sum(axis=1))


def _log_loss(targets: Floats, probabilities: AnyFloats, weights: Floats) -> Floats:
    margin = np.finfo(probabilities.dtype).eps
    clipped = np.clip(probabilities, margin, 1 - margin)
    likelihoods = targets * np.log(clipped) + (1 - targets) * np.log(1 - clipped)
    return weighted_mean(-likelihoods, weights)


def _macro(compute: Compute) -> Compute:
    """Score each column of targets and probabilities [N, T]; average over the defined ones."""

    def macro(targets: Floats, probabilities: AnyFloats, weights: Floats) -> Floats:
        flat, columns = _flat(compute), range(targets.shape[1])
        return defined_mean([flat(targets[:, i], probabilities[:, i], weights) for i in columns])

    return macro


def _micro(compute: Compute) -> Compute:
    """Score all labelled pairs (sample, column) of [N, T] together."""

    def micro(targets: Floats, probabilities: AnyFloats, weights: Floats) -> Floats:
        rows, columns = np.nonzero(~np.isnan(targets))
        return compute(targets[rows, columns], probabilities[rows, columns], weights[:, rows])

    return micro


def _one_hot(targets: Floats, classes: int) -> Floats:
    """Turn class numbers [N] or [N, 1] into columns [N, classes]; an unknown class gives NaN."""
    column = targets.reshape(-1, 1)
    return np.where(np.isnan(column), np.nan, (column == np.arange(classes)).astype(np.float64))


def _one_vs_rest(compute: Compute) -> Compute:
    """Score each class of probabilities [N, C] against the others; average over those seen."""

    def one_vs_rest(targets: Floats, probabilities: AnyFloats, weights: Floats) -> Floats:
        return _macro(compute)(_one_hot(targets, probabilities.shape[1]), probabilities, weights)

    return one_vs_rest


def _multiclass_brier(targets: Floats, probabilities: AnyFloats, weights: Floats) -> Floats:
    errors = probabilities - _one_hot(targets, probabilities.shape[1])
    return weighted_mean((errors**2).sum(axis=1), weights)


def _multiclass_log_loss(targets: Floats, probabilities: AnyFloats, weights: Floats) -> Floats:
    margin = np.finfo(probabilities.dtype).eps
    clipped = np.clip(probabilities, margin, 1.0)
    likelihoods = _one_hot(targets, probabilities.shape[1]) * np.log(clipped)
    return weighted_mean(-likelihoods.sum(axis=1), weights)


def _hits(targets: Floats, probabilities: AnyFloats) -> Floats:
    """Return 1 where the most probable class is the true one, 0 elsewhere, NaN for unknown."""
    column = targets.reshape(len(targets))
    hits = (probabilities.argmax(axis=1) == column).astype(np.float64)
    return np.where(np.isnan(column), np.nan, hits)


def _accuracy(targets: Floats, probabilities: AnyFloats, weights: Floats) -> Floats:
    return weighted_mean(_hits(targets, probabilities), weights)


def _top_label_ece(targets: Floats, probabilities: AnyFloats, weights: Floats) -> Floats:
    return _flat(_ece)(_hits(targets, probabilities), probabilities.max(axis=1), weights)


auroc = Metric(
    name="auroc",
    title="AUROC",
    meaning=(
        "Area under the ROC curve: the chance that a patient with the outcome gets a higher risk "
        "than one without, ties counting half (Mann-Whitney). 0.5 is chance, 1 is perfect."
    ),
    compute=_flat(_auroc),
    chance=0.5,
    hub_id="roc_auc",
)
auprc = Metric(
    name="auprc",
    title="AUPRC",
    meaning=(
        "Area under the precision-recall curve, as average precision: the precision at each "
        "distinct risk, weighted by the recall gained there. Chance is the share of patients with "
        "the outcome."
    ),
    compute=_flat(_auprc),
    hub_id="average_precision",
)
brier = Metric(
    name="brier",
    title="Brier score",
    meaning="Mean squared difference of predicted risk and outcome (Brier, 1950): 0 is perfect.",
    compute=_flat(_brier),
    higher_is_better=False,
    hub_id="brier_score",
    of_calibration=True,
)
ece = Metric(
    name="ece",
    title="Calibration error",
    meaning=(
        "Expected calibration error: how far predicted risk and observed share lie apart, over "
        f"{ECE_BINS} bins of equal width (Guo et al., 2017)."
    ),
    compute=_flat(_ece),
    higher_is_better=False,
    of_calibration=True,
)
log_loss = Metric(
    name="log_loss",
    title="Log loss",
    meaning=(
        "Mean negative log-likelihood; probabilities are kept one machine epsilon away from 0 "
        "and 1."
    ),
    compute=_flat(_log_loss),
    higher_is_better=False,
    bounds=(0.0, np.inf),
)

_OVER_OUTCOMES = " Of many outcomes, the mean over those for which it is defined."
_POOLED = " All pairs of patient and outcome count together."


def _over_outcomes(metric: Metric, compute: Compute) -> Metric:
    return replace(metric, compute=_macro(compute), meaning=metric.meaning + _OVER_OUTCOMES)


def _pooled(metric: Metric, compute: Compute) -> Metric:
    return replace(
        metric,
        name=f"{metric.name}_micro",
        title=f"{metric.title}, pooled",
        compute=_micro(compute),
        meaning=metric.meaning + _POOLED,
    )


macro_auroc, micro_auroc = _over_outcomes(auroc, _auroc), _pooled(auroc, _auroc)
macro_auprc, micro_auprc = _over_outcomes(auprc, _auprc), _pooled(auprc, _auprc)
macro_brier, macro_ece = _over_outcomes(brier, _brier), _over_outcomes(ece, _ece)

_OVER_CLASSES = " Of classes, the mean over those that are seen, each against the others."

multiclass_auroc = replace(
    auroc, compute=_one_vs_rest(_auroc), meaning=auroc.meaning + _OVER_CLASSES
)
multiclass_auprc = replace(
    auprc, compute=_one_vs_rest(_auprc), meaning=auprc.meaning + _OVER_CLASSES
)
multiclass_brier = replace(
    brier,
    compute=_multiclass_brier,
    meaning=(
        f"{brier.meaning} Of classes, the squared differences are summed over them: from 0 to 2."
    ),
    bounds=(0.0, 2.0),
)
multiclass_log_loss = replace(log_loss, compute=_multiclass_log_loss)
accuracy = Metric(
    name="accuracy",
    title="Accuracy",
    meaning="Share of samples whose most probable class is the true one.",
    compute=_accuracy,
    hub_id="accuracy",
)
top_label_ece = replace(
    ece, compute=_top_label_ece, meaning=ece.meaning + " Of classes, that of the most probable one."
)


def calibration_curve(targets: AnyFloats, probabilities: AnyFloats, bins: int = 10) -> Calibration:
    """Compare predicted and observed risk in bins of about as many samples; tied bins merge."""
    known = ~np.isnan(targets)
    outcomes = np.asarray(targets[known], np.float64)
    risks = np.asarray(probabilities[known], np.float64)

    # Put the samples into bins by quantiles of the risk.
    edges = np.quantile(risks, np.linspace(0, 1, bins + 1)[1:-1]) if len(risks) else np.zeros(0)
    bin_of = np.searchsorted(edges, risks)
    counts = np.bincount(bin_of, minlength=bins)
    filled = counts > 0

    predicted, observed = (
        np.bincount(bin_of, values, bins)[filled] / counts[filled] for values in (risks, outcomes)
    )
    return Calibration(predicted, observed, counts[filled])
