"""What becomes of each class: patients by their class and by the one that the model gives."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clintune.contracts import Predictions
from clintune.core.disclosure import SMALLEST_SHOWN
from clintune.evaluation.context import Context
from clintune.evaluation.page import Page, output_name
from clintune.evaluation.subjects import number_subjects, subjects_having
from clintune.report.section import Block, Heading, Section, Text
from clintune.report.table import Count, Row, Share, Table
from clintune.tasks.questions import Question


def run(context: Context) -> dict[str, Any] | None:
    """Return the counts of each question with several classes."""
    found = {
        output_name(name, question.name): confusion(part, question)
        for name, part in context.held_out.items()
        for question in context.tasks[name].questions
        if question.is_multiclass
    }
    return found or None


def section(result: Mapping[str, Any], page: Page) -> Section:
    """Return a table a question."""
    explained = (
        "Patients by the class they have (rows) and the class that the model finds most probable "
        "(columns). Sensitivity: of those with a class, how many are given it. Precision: of those "
        "given a class, how many have it."
    )
    blocks: list[Block] = [Text(explained)]
    for name, found in result.items():
        blocks += [Heading(name)] if len(result) > 1 else []
        blocks.append(confusion_table(found))
    return Section("What becomes of each class", blocks)


def confusion_table(found: Mapping[str, Any]) -> Table:
    """Return the table of one question."""
    rows = [
        Row([name, *map(Count, counts), Share(**share)])
        for name, counts, share in zip(
            found["names"], found["counts"], found["sensitivity"], strict=True
        )
    ]
    rows.append(Row(["Precision", *(Share(**share) for share in found["precision"]), ""]))
    return Table(["Has, given", *found["names"], "Sensitivity"], rows, sums="grid")


def confusion(predictions: Predictions, question: Question) -> dict[str, Any]:
    """Cross the classes that patients have with the most probable ones; unknown ones are left out.

    Rows of `counts` are true classes. Classes of fewer than 11 patients stand together under one
    name. A patient with several predictions counts in each cell that one of them falls into.
    """
    views = question.views()
    true = np.stack([view.outcome(predictions.targets) == 1 for view in views], axis=1)
    given = _most_probable(question.chances(predictions.predicted))

    # Classes of few patients become one: their names would point at them.
    large = np.array([subjects_having(predictions, view) for view in views]) >= SMALLEST_SHOWN
    names = [view.name for view, is_large in zip(views, large, strict=True) if is_large]
    if not large.all():
        names.append(f"classes of fewer than {SMALLEST_SHOWN} patients")
        true, given = (
            np.column_stack([part[:, large], part[:, ~large].any(axis=1)]) for part in (true, given)
        )

    known = true.any(axis=1)
    subject = number_subjects(predictions)[known]
    true, given = true[known], given[known]
    pairs = list(zip(true.T, given.T, strict=True))
    counts = []
    for row in true.T:
        counts.append([_distinct(subject, row & column) for column in given.T])

    return {
        "names": names,
        "counts": counts,
        "sensitivity": [_share(subject, row, row & column) for row, column in pairs],
        "precision": [_share(subject, column, row & column) for row, column in pairs],
    }


def _most_probable(probabilities: NDArray[np.float32]) -> NDArray[np.bool_]:
    classes = np.arange(probabilities.shape[1])
    chosen: NDArray[np.bool_] = probabilities.argmax(axis=1)[:, None] == classes
    return chosen


def _share(
    subject: NDArray[np.int64], whole: NDArray[np.bool_], part: NDArray[np.bool_]
) -> dict[str, Any]:
    """Return which share of the predictions `whole` is in `part`, and the patients on each side."""
    return {
        "value": float(part.sum() / whole.sum()) if whole.any() else None,
        "part": _distinct(subject, part),
        "rest": _distinct(subject, whole & ~part),
    }


def _distinct(subject: NDArray[np.int64], rows: NDArray[np.bool_]) -> int:
    return len(np.unique(subject[rows]))
