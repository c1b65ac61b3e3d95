"""Whether probabilities mean what they say, before and after calibration; abstention."""

from collections.abc import Mapping
from typing import Any

from clintune.core.disclosure import SMALLEST_SHOWN
from clintune.evaluation.context import TUNING, Context
from clintune.evaluation.page import Page, output_name
from clintune.evaluation.scored import of_task
from clintune.evaluation.subjects import count_labels
from clintune.report.section import Block, Points, Section, Text
from clintune.report.table import Number, Row, Table
from clintune.tasks.base import Task
from clintune.tasks.calibration import Calibration, score_calibration

ON_CARD = True


def run(context: Context) -> dict[str, Any] | None:
    """Return the scores of each task with questions; None where there is nothing to calibrate.

    That is so without tuning samples, and where no task has a question.
    """
    if TUNING not in context.splits:
        return None
    found = {}
    for name, part in context.held_out.items():
        task, fitted = context.tasks[name], context.fitted(name)
        if task.questions:
            found[name] = {
                **score_calibration(part, fitted, task),
                "num_samples": count_labels([of_task(part, task)]).n_samples,
                "left_alone": _left_alone(name, task, fitted),
            }
    return found or None


def section(result: Mapping[str, Any], page: Page) -> Section:
    """Return a table of the tasks, and which outputs were left as they are."""
    explained = (
        "Fitted on tuning samples. The model abstains where a conformal prediction set at error "
        "level 0.1 does not hold exactly one answer."
    )
    blocks: list[Block] = [Text(explained), _table(result, page)]
    reasons = [
        f"{output}: left as it is, and never abstains: {reason}."
        for found in result.values()
        for output, reason in found["left_alone"].items()
    ]
    blocks += [Points(reasons)] if reasons else []
    return Section("Calibration", blocks)


def _table(result: Mapping[str, Any], page: Page) -> Table:
    metrics = [metric for metric in page.all_metrics if metric.of_calibration]
    head = ["Task"]
    for metric in metrics:
        head += [f"{metric.title} before", f"{metric.title} after"]

    rows = []
    for task, found in result.items():
        cells: list[str | Number] = [task]
        for metric in metrics:
            cells += [Number(found[when].get(metric.name)) for when in ("before", "after")]
        # Shares of few samples could be counted.
        shares = (
            found if found["num_samples"] >= SMALLEST_SHOWN else {"abstained": None, "error": None}
        )
        cells += [Number(shares[name], 1, "percent") for name in ("abstained", "error")]
        rows.append(Row(cells))
    return Table([*head, "Abstains", "Errors among the answered"], rows)


def _left_alone(name: str, task: Task, fitted: list[Calibration]) -> dict[str, str]:
    """Return why outputs were not calibrated, in the first fold in which they were not."""
    reasons: dict[str, str] = {}
    for calibration in fitted:
        for question, reason in zip(task.questions, calibration.reasons, strict=True):
            if reason is not None:
                reasons.setdefault(output_name(name, question.name), reason)
    return reasons
