"""Discrimination and calibration of probabilities: NumPy in, floats out.

Every metric reads `targets` (NaN = unknown, left out) and `probabilities`. With `weights` [R, N] it scores R weightings
of the N samples at once and returns [R] values: a bootstrap is a reweighting, so the sorting happens once for all its
replicates. Without weights it returns a float. What is undefined (one class only, nothing labelled, a probability that
is not finite) is NaN.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol, overload

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
AnyFloats = NDArray[np.floating]
Compute = Callable[[Floats, AnyFloats, Floats], Floats]

ECE_BINS = 15


class Metric(Protocol):
    """A metric: a float, or [R] values under `weights` [R, N]."""

    @overload
    def __call__(self, targets: AnyFloats, probabilities: AnyFloats, weights: None = None) -> float: ...
    @overload
    def __call__(self, targets: AnyFloats, probabilities: AnyFloats, weights: Floats) -> Floats: ...


class Calibration(NamedTuple):
    """Mean predicted probability, observed share of positives and number of samples of each bin."""

    predicted: Floats
    observed: Floats
    counts: NDArray[np.int64]


def _metric(compute: Compute) -> Metric:
    def measure(targets: AnyFloats, probabilities: AnyFloats, weights: Floats | None = None) -> float | Floats:
        rows = np.ones((1, len(targets))) if weights is None else np.asarray(weights, np.float64)
        truth, answers = np.asarray(targets, np.float64), np.asarray(probabilities)
        known: NDArray[np.bool_] = ~np.isnan(truth)
        if known.shape != answers.shape:  # of classes, each sample has one target for all of its answers
            known = np.asarray(known.reshape(len(truth), -1).any(axis=1))
        finite = np.isfinite(answers[known]).all()
        values = compute(truth, answers, rows) if finite else np.full(len(rows), np.nan)
        return float(values[0]) if weights is None else values

    return measure  # type: ignore[return-value]


def _flat(compute: Compute) -> Compute:
    """Let `compute`, which needs labelled [N], also read columns [N, 1] and unknown targets."""

    def labelled(targets: Floats, probabilities: AnyFloats, weights: Floats) -> Floats:
        targets, probabilities = targets.reshape(len(targets)), probabilities.reshape(len(targets))
        known = ~np.isnan(targets)
        return compute(targets[known], probabilities[known], weights[:, known])

    return labelled


def _divide(numerator: Floats, denominator: Floats) -> Floats:
    """Divide, with NaN where the denominator is 0."""
    quotient: Floats = np.full(np.broadcast_shapes(numerator.shape, denominator.shape), np.nan)
    np.divide(numerator, denominator, out=quotient, where=denominator != 0)
    return quotient


def _grouped(targets: Floats, probabilities: AnyFloats, weights: Floats) -> tuple[Floats, Floats]:
    """Return the weight of positives and of negatives [R, G] at each distinct probability, highest first."""
    if not len(targets):
        return np.zeros((len(weights), 0)), np.zeros((len(weights), 0))
    order = np.argsort(-probabilities, kind="stable")
    ordered = probabilities[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    total, positive = weights[:, order], (weights * targets)[:, order]
    if len(starts) < len(order):
        total, positive = np.add.reduceat(total, starts, axis=1), np.add.reduceat(positive, starts, axis=1)
    return positive, total - positive


def _auroc(targets: Floats, probabilities: AnyFloats, weights: Floats) -> Floats:
    positive, negative = _grouped(targets, probabilities, weights)
    above = np.cumsum(positive, axis=1) - positive / 2
    return _divide((negative * above).sum(axis=1), positive.sum(axis=1) * negative.sum(axis=1))


def _auprc(targets: Floats, probabilities: AnyFloats, weights: Floats) -> Floats:
    positive, negative = _grouped(targets, probabilities, weights)
    found = np.cumsum(positive, axis=1)
    flagged = found + np.cumsum(negative, axis=1)
    precision = np.divide(found, flagged, out=np.zeros_like(found), where=flagged > 0)
    return _divide((positive * precision).sum(axis=1), positive.sum(axis=1))


def _mean(values: AnyFloats, weights: Floats) -> Floats:
    return _divide(weights @ np.asarray(values, np.float64), weights.sum(axis=1))


def _brier(targets: Floats, probabilities: AnyFloats, weights: Floats) -> Floats:
    return _mean((probabilities - targets) ** 2, weights)


def _ece(targets: Floats, probabilities: AnyFloats, weights: Floats) -> Floats:
    bins = np.minimum((probabilities * ECE_BINS).astype(np.int64), ECE_BINS - 1)
    gaps = np.zeros((len(targets), ECE_BINS))
    gaps[np.arange(len(targets)), bins] = probabilities - targets
    return _divide(np.abs(weights @ gaps).sum(axis=1), weights.sum(axis=1))


def _log_loss(targets: Floats, probabilities: AnyFloats, weights: Floats) -> Floats:
    margin = np.finfo(probabilities.dtype).eps
    clipped = np.clip(probabilities, margin, 1 - margin)
    return _mean(-(targets * np.log(clipped) + (1 - targets) * np.log(1 - clipped)), weights)


def defined_mean(values: list[Floats]) -> Floats:
    """Return the mean over the arrays of those of their values that are defined; NaN where none is."""
    table = np.stack(values)
    defined = ~np.isnan(table)
    return _divide(np.where(defined, table, 0.0).sum(axis=0), defined.sum(axis=0).astype(np.float64))


def _macro(compute: Compute) -> Compute:
    """Score each column of targets and probabilities [N, T] and average over the defined columns."""

    def macro(targets: Floats, probabilities: AnyFloats, weights: Floats) -> Floats:
        columns = range(targets.shape[1])
        return defined_mean([_flat(compute)(targets[:, i], probabilities[:, i], weights) for i in columns])

    return macro


def _micro(compute: Compute) -> Compute:
    """Score all labelled pairs (sample, column) of [N, T] together."""

    def micro(targets: Floats, probabilities: AnyFloats, weights: Floats) -> Floats:
        rows, columns = np.nonzero(~np.isnan(targets))
        return compute(targets[rows, columns], probabilities[rows, columns], weights[:, rows])

    return micro


def _one_hot(targets: Floats, classes: int) -> Floats:
    """Turn class numbers [N] or [N, 1] into columns [N, classes]; an unknown class is a row of NaN."""
    column = targets.reshape(-1, 1)
    return np.where(np.isnan(column), np.nan, (column == np.arange(classes)).astype(np.float64))


def _one_vs_rest(compute: Compute) -> Compute:
    """Score each class of probabilities [N, C] against the others and average over the classes seen."""

    def one_vs_rest(targets: Floats, probabilities: AnyFloats, weights: Floats) -> Floats:
        return _macro(compute)(_one_hot(targets, probabilities.shape[1]), probabilities, weights)

    return one_vs_rest


def _multiclass_brier(targets: Floats, probabilities: AnyFloats, weights: Floats) -> Floats:
    return _labelled_mean(((probabilities - _one_hot(targets, probabilities.shape[1])) ** 2).sum(axis=1), weights)


def _multiclass_log_loss(targets: Floats, probabilities: AnyFloats, weights: Floats) -> Floats:
    margin = np.finfo(probabilities.dtype).eps
    clipped = np.clip(probabilities, margin, 1.0)
    return _labelled_mean(-(_one_hot(targets, probabilities.shape[1]) * np.log(clipped)).sum(axis=1), weights)


def _labelled_mean(values: Floats, weights: Floats) -> Floats:
    known = ~np.isnan(values)
    return _mean(values[known], weights[:, known])


def _hits(targets: Floats, probabilities: AnyFloats) -> Floats:
    """Return 1 where the most probable class is the true one, 0 where not, NaN where it is unknown."""
    column = targets.reshape(len(targets))
    return np.where(np.isnan(column), np.nan, (probabilities.argmax(axis=1) == column).astype(np.float64))


def _accuracy(targets: Floats, probabilities: AnyFloats, weights: Floats) -> Floats:
    return _labelled_mean(_hits(targets, probabilities), weights)


def _top_label_ece(targets: Floats, probabilities: AnyFloats, weights: Floats) -> Floats:
    return _flat(_ece)(_hits(targets, probabilities), probabilities.max(axis=1), weights)


auroc = _metric(_flat(_auroc))
"""Area under the ROC curve: the chance that a positive scores above a negative, ties counting half (Mann-Whitney)."""
auprc = _metric(_flat(_auprc))
"""Average precision: precision at each distinct probability, weighted by the recall gained there."""
brier = _metric(_flat(_brier))
"""Mean squared difference of probability and outcome (Brier, 1950)."""
ece = _metric(_flat(_ece))
"""Expected calibration error over 15 bins of equal width (Guo et al., ICML 2017); 1 belongs to the last bin."""
log_loss = _metric(_flat(_log_loss))
"""Mean negative log-likelihood; probabilities are kept one machine epsilon away from 0 and 1."""

macro_auroc, micro_auroc = _metric(_macro(_auroc)), _metric(_micro(_auroc))
macro_auprc, micro_auprc = _metric(_macro(_auprc)), _metric(_micro(_auprc))
macro_brier, macro_ece = _metric(_macro(_brier)), _metric(_macro(_ece))

multiclass_auroc = _metric(_one_vs_rest(_auroc))
"""Mean over the classes of one-versus-rest AUROC; targets are class numbers [N] or [N, 1]."""
multiclass_auprc = _metric(_one_vs_rest(_auprc))
multiclass_brier = _metric(_multiclass_brier)
"""Mean of the squared differences summed over the classes: from 0 to 2."""
multiclass_log_loss = _metric(_multiclass_log_loss)
accuracy = _metric(_accuracy)
"""Share of samples whose most probable class is the true one."""
top_label_ece = _metric(_top_label_ece)
"""Expected calibration error of the most probable class."""


def roc_curve(targets: AnyFloats, probabilities: AnyFloats) -> tuple[Floats, Floats]:
    """Return false and true positive rates, from (0, 0) to (1, 1), one point a distinct probability."""
    positive, negative = _points(targets, probabilities)
    true, false = np.r_[0.0, np.cumsum(positive)], np.r_[0.0, np.cumsum(negative)]
    return _divide(false, false[-1:]), _divide(true, true[-1:])


def pr_curve(targets: AnyFloats, probabilities: AnyFloats) -> tuple[Floats, Floats]:
    """Return recall and precision at each distinct probability, highest first."""
    positive, negative = _points(targets, probabilities)
    true = np.cumsum(positive)
    return _divide(true, true[-1:]), _divide(true, true + np.cumsum(negative))


def calibration_curve(targets: AnyFloats, probabilities: AnyFloats, bins: int = 10) -> Calibration:
    """Compare predicted and observed risk in bins of (nearly) equally many samples; tied bins merge."""
    known = ~np.isnan(targets)
    outcomes, risks = np.asarray(targets[known], np.float64), np.asarray(probabilities[known], np.float64)
    edges = np.quantile(risks, np.linspace(0, 1, bins + 1)[1:-1]) if len(risks) else np.zeros(0)
    bin_of = np.searchsorted(edges, risks)
    counts = np.bincount(bin_of, minlength=bins)
    filled = counts > 0
    predicted, observed = (np.bincount(bin_of, values, bins)[filled] / counts[filled] for values in (risks, outcomes))
    return Calibration(predicted, observed, counts[filled])


def _points(targets: AnyFloats, probabilities: AnyFloats) -> tuple[Floats, Floats]:
    known = ~np.isnan(targets)
    outcomes = np.asarray(targets[known], np.float64)
    positive, negative = _grouped(outcomes, np.asarray(probabilities)[known], np.ones((1, len(outcomes))))
    return positive[0], negative[0]
