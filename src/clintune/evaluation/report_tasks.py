"""What a report shows of each task: its curves, the figures that it brings, its classes and phenotypes."""

from functools import partial
from typing import Any

from matplotlib.figure import Figure as Canvas

from clintune.contracts import Predictions
from clintune.evaluation import figures
from clintune.evaluation.confusion import confusion
from clintune.evaluation.disclosure import shown_together
from clintune.evaluation.report_content import SPLITS, ReportContent
from clintune.evaluation.subgroups import VIEW_METRICS
from clintune.tasks.base import Task
from clintune.tasks.figure import Figure


def task_sections(content: ReportContent) -> list[dict[str, Any]]:
    """Return the figures of each task, and its table of phenotypes or classes."""
    sections = []
    for number, (name, predictions) in enumerate(content.predictions.items()):
        few, task = content.few(name), content.tasks[name]
        outputs = {
            view: scores
            for view, scores in content.outputs.get(name, {}).items()
            if view not in few
        }
        counts = shown_together(
            [metrics[VIEW_METRICS[0].name]["n_positive"] for metrics in outputs.values()]
        )

        sections.append(
            {
                "task": name,
                "kind": content.kind(name),
                "few": len(few & content.outputs.get(name, {}).keys()),
                "confusions": [
                    confusion(predictions, asked) for asked in task.questions if asked.is_multiclass
                ],
                "figure": _curves(content, number, name),
                "figures": _figures(task, predictions, f"task{number}"),
                "outputs": [
                    {
                        "name": view,
                        "positive": count,
                        "scores": [metrics[metric.name] for metric in VIEW_METRICS],
                    }
                    for (view, metrics), count in zip(outputs.items(), counts, strict=True)
                ],
            }
        )
    return sections


def _curves(content: ReportContent, number: int, task: str) -> str | None:
    """Return ROC, precision-recall and calibration curves of the yes-or-no views of a task, where there are enough."""
    if not content.tasks[task].binary_views:
        return None
    lines, pooled = figures.lines_of(content.predictions[task], content.tasks[task])
    title = f"{task}: ROC, precision-recall and calibration curves of {SPLITS.get(content.split, content.split)}"
    return (
        figures.curves(lines, pooled, f"task{number}", title)
        if lines and pooled.plottable
        else None
    )


def _figures(task: Task, predictions: Predictions, prefix: str) -> list[dict[str, Any]]:
    """Return what a task itself draws."""
    drawn = []
    for number, figure in enumerate(task.figures):
        svg = None
        if figure.is_drawable(predictions):
            draw = partial(_draw, figure, predictions)
            svg = figures.render(draw, figure.size, f"{prefix}-{number}", figure.title)
        drawn.append({"title": figure.title, "caption": figure.caption, "svg": svg})
    return drawn


def _draw(figure: Figure, predictions: Predictions, canvas: Canvas) -> None:
    figure.draw(canvas, predictions)
