"""What becomes of each class: patients by their class and by the one that the model gives, with small cells hidden."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clintune.contracts import Predictions
from clintune.evaluation.disclosure import HIDDEN, SMALLEST_SHOWN, hide_small
from clintune.evaluation.subjects import number_subjects, subjects_having
from clintune.tasks.questions import Question


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """Counts of patients as text, a row a true class and a column a given one, and two shares of each class.

    Classes of fewer than 11 patients stand together under one name. A patient with several predictions counts in each
    cell that one of them falls into.
    """

    names: list[str]
    cells: list[list[str]]
    sensitivity: list[str]
    precision: list[str]


def confusion(predictions: Predictions, question: Question) -> Confusion:
    """Cross the classes that patients have with the most probable ones; unknown classes are left out."""
    views = question.views()
    true = np.stack([view.outcome(predictions.targets) == 1 for view in views], axis=1)
    given = _most_probable(question.chances(predictions.predicted))
    large = np.array([subjects_having(predictions, view) for view in views]) >= SMALLEST_SHOWN
    shown = [view.name for view, is_large in zip(views, large, strict=True) if is_large]
    if not large.all():
        shown.append(f"classes of fewer than {SMALLEST_SHOWN} patients")
        true, given = (
            np.column_stack([part[:, large], part[:, ~large].any(axis=1)]) for part in (true, given)
        )

    known = true.any(axis=1)
    subject = number_subjects(predictions)[known]
    true, given = true[known], given[known]
    counts = np.array([[_distinct(subject, row & column) for column in given.T] for row in true.T])
    return Confusion(
        names=shown,
        cells=hide_small(counts),
        sensitivity=[
            _share(subject, row, row & column) for row, column in zip(true.T, given.T, strict=True)
        ],
        precision=[
            _share(subject, column, row & column)
            for row, column in zip(true.T, given.T, strict=True)
        ],
    )


def _most_probable(probabilities: NDArray[np.float32]) -> NDArray[np.bool_]:
    chosen: NDArray[np.bool_] = probabilities.argmax(axis=1)[:, None] == np.arange(
        probabilities.shape[1]
    )
    return chosen


def _share(subject: NDArray[np.int64], whole: NDArray[np.bool_], part: NDArray[np.bool_]) -> str:
    """Return which share of the predictions `whole` is in `part`, unless either side of it is of too few patients."""
    if _distinct(subject, part) < SMALLEST_SHOWN:
        return HIDDEN
    if _distinct(subject, whole & ~part) < SMALLEST_SHOWN:
        return "nearly all"
    return f"{part.sum() / whole.sum():.0%}"


def _distinct(subject: NDArray[np.int64], rows: NDArray[np.bool_]) -> int:
    return len(np.unique(subject[rows]))
