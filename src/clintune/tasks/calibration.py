"""Calibration of probabilities, and abstention; both are fitted on the tuning predictions.

A yes-or-no output gets Platt scaling of its logit, with smoothed targets (Platt, 1999). Classes
that exclude each other share one temperature (Guo et al., ICML 2017). A sample is answered where
its class-conditional conformal prediction set at error level `ALPHA` holds exactly one class
(Vovk, 2012; Angelopoulos and Bates, 2021). Platt scaling keeps the order of samples, so the sets
are as valid as if it had been fitted on other samples. The least probability of an answer in a set
is rounded down, so that it is not that of one patient: sets only grow, and cover no less.

Axes as in `tasks.questions`: G questions of a task, each with C answers. Predictions of a task
without questions, as one that answers with a value, stay as they are.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax, logit, softmax

from clintune.contracts import Predictions
from clintune.core.numbers import is_finite
from clintune.tasks.base import Task
from clintune.tasks.questions import Question

ALPHA = 0.1
LEAST_LABELS = 20
"""Number of tuning samples of each answer below which a question is not calibrated."""
_LEAST_ROUNDED, _DECIMALS = 1e-5, 6
"""The least probability that keeps two digits, and the decimals of these digits."""
_GRADIENT_TOLERANCE = 1e-10
"""A fit ends where no slope of the mean log loss is greater."""
_STEEPEST = 1e12
"""The greatest slope and intercept that are read back: steeper ones would overflow in `apply`."""

Floats = NDArray[np.float64]
Float32s = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """The correction of the probabilities of one task, and the rule of abstention.

    `slope` and `intercept` [G] act on logits. `floors` [G, C] are the conformal thresholds: the
    least probabilities with which an answer is in the prediction set. `reasons` [G] say why a
    question is not calibrated; None where it is.
    """

    exclusive: bool
    """Whether the outputs are classes that exclude each other (a multiclass task)."""
    slope: tuple[float, ...]
    intercept: tuple[float, ...]
    floors: tuple[tuple[float, ...], ...]
    reasons: tuple[str | None, ...]

    @classmethod
    def identity(
        cls, questions: Sequence[Question], *, reason: str = "never fitted"
    ) -> "Calibration":
        """Return the calibration that changes no answer and never abstains."""
        return cls(
            exclusive=any(question.is_multiclass for question in questions),
            slope=(1.0,) * len(questions),
            intercept=(0.0,) * len(questions),
            floors=tuple((0.0,) * len(question.answers) for question in questions),
            reasons=(reason,) * len(questions),
        )

    def apply(self, probabilities: Float32s) -> Float32s:
        """Return the calibrated probabilities [N, P]; without questions, predictions as given."""
        if not self.reasons:
            return probabilities

        # Scale the logits; the intercept, 0 for classes, moves that of the last answer.
        answers = _answers(probabilities, self.exclusive)
        logits = np.array(self.slope)[:, None] * _log(answers)
        logits[..., -1] += np.array(self.intercept)
        calibrated = np.where(self._fitted[:, None], softmax(logits, axis=-1), answers)
        return (calibrated[:, 0] if self.exclusive else calibrated[..., 1]).astype(np.float32)

    def abstains(self, calibrated: Float32s) -> NDArray[np.bool_]:
        """Return where the model should not answer [N, G].

        There its prediction set is empty or ambiguous. Without questions that is nowhere [N, 1].
        """
        if not self.reasons:
            return np.zeros((len(calibrated), 1), np.bool_)

        included = _answers(calibrated, self.exclusive) >= np.array(self.floors, np.float32)
        abstained: NDArray[np.bool_] = (included.sum(axis=-1) != 1) & self._fitted
        return abstained

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Any) -> "Calibration":
        """Restore the result of `to_json`.

        Raises ValueError for anything else: every number must be finite and within bounds.
        """
        # Check the shapes.
        if not isinstance(values, dict) or values.keys() != cls.__dataclass_fields__.keys():
            raise ValueError("no calibration")
        exclusive, reasons = values["exclusive"], values["reasons"]
        slope, intercept, floors = values["slope"], values["intercept"], values["floors"]
        lists = [slope, intercept, floors, reasons]
        if not isinstance(exclusive, bool) or not all(isinstance(part, list) for part in lists):
            raise ValueError("no calibration")
        are_rows = all(isinstance(row, list) for row in floors)
        if len({len(part) for part in lists}) != 1 or not are_rows:
            raise ValueError("a calibration of lists that differ in length")

        # Check the values.
        if not (_within(slope, 0, _STEEPEST) and _within(intercept, -_STEEPEST, _STEEPEST)):
            raise ValueError("a slope or intercept out of bounds")
        if not all(_within(row, 0, 1) for row in floors):
            raise ValueError("a floor that is no probability")
        if not all(reason is None or isinstance(reason, str) for reason in reasons):
            raise ValueError("a reason that is no text")

        return cls(
            exclusive=exclusive,
            slope=tuple(map(float, slope)),
            intercept=tuple(map(float, intercept)),
            floors=tuple(tuple(map(float, row)) for row in floors),
            reasons=tuple(reasons),
        )

    def fits(self, other: "Calibration") -> bool:
        """Return whether both have the same questions and answers."""
        mine, theirs = list(map(len, self.floors)), list(map(len, other.floors))
        return self.exclusive == other.exclusive and mine == theirs

    @property
    def _fitted(self) -> NDArray[np.bool_]:
        return np.array([reason is None for reason in self.reasons])


def fit_calibration(predictions: Predictions, task: Task) -> Calibration:
    """Fit the calibration of a task on its tuning predictions.

    Each question is fitted on the samples whose answer is known.
    """
    questions = task.questions
    identity = Calibration.identity(questions)
    if not questions:
        return identity

    # Scale the logits of each question.
    exclusive = identity.exclusive
    slope, intercept = list(identity.slope), list(identity.intercept)
    reasons = list(identity.reasons)
    answers = _answers(predictions.predicted, exclusive)
    for i, question in enumerate(questions):
        column = predictions.targets[:, question.column]
        known = ~np.isnan(column)
        truth = column[known].astype(np.int64)
        reasons[i] = _too_few(truth, question.answers)
        if reasons[i] is None:
            logs = _log(answers[known, i])
            slope[i], intercept[i] = _fit(logs, truth, with_intercept=not exclusive)

    scaled = replace(
        identity, slope=tuple(slope), intercept=tuple(intercept), reasons=tuple(reasons)
    )

    # Find the conformal thresholds of the calibrated probabilities.
    calibrated = _answers(scaled.apply(predictions.predicted), exclusive)
    floors = list(identity.floors)
    for i, reason in enumerate(reasons):
        if not reason:
            floors[i] = _floors(calibrated[:, i], predictions.targets[:, i])
    return replace(scaled, floors=tuple(floors))


def calibrate(
    predictions: Predictions, fitted: Sequence[Calibration]
) -> tuple[Float32s, NDArray[np.bool_]]:
    """Return the calibrated predictions [N, P] of a task, and where the model abstains [N, G].

    `fitted` holds the calibration of each fold.
    """
    after = predictions.predicted.copy()
    abstained = np.zeros((len(predictions), max(1, len(fitted[0].reasons))), np.bool_)
    for fold, calibration in enumerate(fitted):
        rows = predictions.fold == fold
        after[rows] = calibration.apply(predictions.predicted[rows])
        abstained[rows] = calibration.abstains(after[rows])
    return after, abstained


def score_calibration(
    held_out: Predictions, fitted: Sequence[Calibration], task: Task
) -> dict[str, Any]:
    """Return the metrics of calibration before and after, the abstained share, and the error rate.

    The error rate is that of the samples that are answered. `fitted` holds the calibration of each
    fold. An undefined value is None.
    """
    after, abstained = calibrate(held_out, fitted)
    known = ~np.isnan(held_out.targets)
    wrong = _answers(after, fitted[0].exclusive).argmax(axis=-1) != held_out.targets
    return {
        "before": _calibration_metrics(held_out.targets, held_out.predicted, task),
        "after": _calibration_metrics(held_out.targets, after, task),
        "abstained": _share(abstained[known]),
        "error": _share(wrong[known & ~abstained]),
    }


def _calibration_metrics(
    targets: Float32s, probabilities: Float32s, task: Task
) -> dict[str, float | None]:
    metrics = [metric for metric in task.metrics if metric.of_calibration]
    values = {metric.name: metric(targets, probabilities) for metric in metrics}
    return {name: None if np.isnan(value) else value for name, value in values.items()}


def _within(values: list[Any], least: float, most: float) -> bool:
    return all(is_finite(value) and least <= value <= most for value in values)


def _share(values: NDArray[np.bool_]) -> float | None:
    return float(values.mean()) if len(values) else None


def _answers(probabilities: Float32s, exclusive: bool) -> Float32s:
    """Return the probability of each answer to each question [N, G, C]."""
    if exclusive:
        return probabilities[:, None]
    return np.stack([1 - probabilities, probabilities], axis=-1)


def _log(probabilities: Float32s) -> Floats:
    margin = np.finfo(np.float32).eps
    return np.log(np.clip(probabilities.astype(np.float64), margin, 1 - margin))


def _too_few(truth: NDArray[np.int64], names: Sequence[str]) -> str | None:
    """Return why the answers are too few to fit on; None where they suffice."""
    counts = np.bincount(truth, minlength=len(names)).tolist()
    least = counts.index(min(counts))
    if counts[least] >= LEAST_LABELS:
        return None
    return f"fewer than {LEAST_LABELS} tuning samples are labelled {names[least]}"


def _fit(logs: Floats, truth: NDArray[np.int64], *, with_intercept: bool) -> tuple[float, float]:
    """Return slope and intercept of the least log loss for log-probabilities [N, C].

    The slope is never negative. The targets are those of Platt: an answer seen n times is true with
    (n + 1) / (n + C). So the loss has a minimum even where the answers are perfectly separated.
    """
    # Smooth the targets.
    answers = logs.shape[1]
    counts = np.bincount(truth, minlength=answers)[truth][:, None]
    soft = np.where(np.arange(answers) == truth[:, None], counts + 1, 1) / (counts + answers)

    # Fit the slope of the log-probabilities, and the intercept of the last answer.
    last = np.broadcast_to(np.arange(answers) == answers - 1, logs.shape).astype(np.float64)
    features = np.stack([logs, last], axis=-1) if with_intercept else logs[..., None]

    def loss(solution: Floats) -> tuple[float, Floats]:
        """Return the mean cross-entropy, and its gradient."""
        logits = features @ solution
        gradient = np.einsum("nc,nck->k", softmax(logits, axis=1) - soft, features)
        return -(soft * log_softmax(logits, axis=1)).sum() / len(soft), gradient / len(soft)

    start = np.eye(features.shape[-1])[0]
    found = minimize(loss, start, jac=True, method="BFGS", options={"gtol": _GRADIENT_TOLERANCE}).x

    # A negative slope means that the tuning samples are ranked the wrong way round. Then the best
    # answer is their base rate.
    slope, intercept = found if with_intercept else (found[0], 0.0)
    if slope < 0:
        slope, intercept = 0.0, logit(soft[:, -1].mean()) if with_intercept else 0.0
    return float(slope), float(intercept)


def _floors(calibrated: Float32s, column: Float32s) -> tuple[float, ...]:
    """Return the least probability [C] with which each answer is in the prediction set.

    `calibrated` is [N, C], `column` holds the targets [N]. The least probability is the
    floor(ALPHA (n + 1))-th lowest of the n samples with that answer, rounded down by `coarse`; 0
    where that rank is 0.
    """
    floors = []
    for answer, values in enumerate(calibrated.T):
        own = np.sort(values[column == answer])
        rank = int(ALPHA * (len(own) + 1))
        floors.append(float(coarse(own[rank - 1 : rank])[0]) if rank else 0.0)
    return tuple(floors)


def coarse(probabilities: Float32s, more: int = 0) -> Floats:
    """Return probabilities [N] rounded down to two significant digits, as 0.31 or 0.0042.

    `more` steps of the last digit are added. Many patients may share the result, while only one may
    have the exact value.
    """
    exact = probabilities.astype(np.float64)
    steps = 10 ** (np.floor(np.log10(np.maximum(exact, _LEAST_ROUNDED))) - 1)
    rounded: Floats = np.round((np.floor(exact / steps) + more) * steps, _DECIMALS)
    return rounded
