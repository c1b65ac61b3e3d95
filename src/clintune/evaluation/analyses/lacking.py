"""Scores of those who have a kind of data and of those who lack it."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clintune.evaluation.analyses.groups import group_tables
from clintune.evaluation.context import HELD_OUT, Context
from clintune.evaluation.intervals import intervals, to_json
from clintune.evaluation.page import Page
from clintune.evaluation.subjects import take
from clintune.report.section import Section, Text


def run(context: Context) -> dict[str, Any] | None:
    """Return the scores of raw predictions: modality, `present` or `absent`, task, metric.

    Modalities that all or none of the held-out samples have are left out. None for the folds of a
    run together, and where predictions are of subjects, whose samples may differ.
    """
    if context.split is None or context.config.per_subject:
        return None
    rows = np.flatnonzero(context.split == HELD_OUT)
    found = {}
    for name in context.modalities:
        owner = context.samples.seen(name, rows).owner
        present = np.isin(np.arange(len(rows)), owner)
        if present.any() and not present.all():
            parts = {"present": present, "absent": ~present}
            found[name] = {part: _scores(context, which) for part, which in parts.items()}
    return found or None


def section(result: Mapping[str, Any], page: Page) -> Section:
    """Return a table a modality."""
    explained = (
        "The first score of each task among the predictions for which a kind of data was there, "
        "and among those for which it was not. Who lacks it may differ in other ways, too."
    )
    return Section("Where data are missing", [Text(explained), *group_tables(result, page)])


def _scores(context: Context, rows: NDArray[np.bool_]) -> dict[str, Any]:
    """Return the plain scores of some held-out samples."""
    chosen = {name: take(part, rows) for name, part in context.held_out.items()}
    return to_json(intervals(context.scored(chosen), replicates=context.replicates))
