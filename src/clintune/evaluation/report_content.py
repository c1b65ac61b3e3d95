"""What a report tells, and what may be asked of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from clintune.contracts import Predictions
from clintune.evaluation.disclosure import SMALLEST_SHOWN
from clintune.evaluation.intervals import MEAN
from clintune.evaluation.subjects import subjects_having
from clintune.metrics import Metric
from clintune.tasks.base import Task

Scores = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""Task, metric, and an interval's plain values, as one split in `metrics.json`."""

SPLITS = {
    "held_out": "held-out patients",
    "tuning": "tuning patients",
    "train": "training patients",
}


@dataclass(frozen=True, kw_only=True)
class ReportContent:
    """What a report tells.

    `metrics` is what stands in `metrics.json`, the folds included; `predictions[task]` are those of `split`, which the
    figures show, and `tasks` say what they mean. `history` are the records of `history.jsonl`.
    `ablations[variant]`, `groups[column][group]` and `outputs[task][name]` are the plain values of `Ablation`,
    `by_group` and `by_view`. `notes` are sentences about this run, such as items that could not be read.
    """

    name: str
    metrics: Mapping[str, Any]
    predictions: Mapping[str, Predictions]
    tasks: Mapping[str, Task]
    split: str = "held_out"
    history: Sequence[Mapping[str, Any]] = ()
    ablations: Mapping[str, Mapping[str, Scores]] = field(default_factory=dict)
    groups: Mapping[str, Mapping[str, Scores]] = field(default_factory=dict)
    outputs: Mapping[str, Scores] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()

    def metric(self, task: str) -> Metric | None:
        """Return the primary metric of a task; of their mean, the one that all of them share, if there is one."""
        tasks = self.tasks.values() if task == MEAN else [self.tasks[task]]
        first = [one.metrics[0] for one in tasks]
        return first[0] if len({metric.name for metric in first}) == 1 else None

    @property
    def titles(self) -> dict[str, str]:
        """Return the title of every metric by its name."""
        return {
            metric.name: metric.title for task in self.tasks.values() for metric in task.metrics
        }

    def few(self, task: str) -> set[str]:
        """Return the yes-or-no views of a task whose outcome fewer than 11 patients have."""
        views, predictions = self.tasks[task].binary_views, self.predictions[task]
        return {view.name for view in views if subjects_having(predictions, view) < SMALLEST_SHOWN}

    def kind(self, task: str) -> str:
        """Return in which words a task is told: `mean`, `binary`, `labels`, `classes`, or `other`."""
        if task == MEAN:
            return "mean"
        questions = self.tasks[task].questions
        if not questions:
            return "other"
        if any(question.is_multiclass for question in questions):
            return "classes"
        return "labels" if len(questions) > 1 else "binary"
