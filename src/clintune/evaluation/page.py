"""What sections may ask about the page that they stand on."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from clintune.core.disclosure import SMALLEST_SHOWN
from clintune.evaluation.intervals import MEAN
from clintune.experiment.folds import SPLITS
from clintune.metrics import Metric
from clintune.report.table import Count, Score
from clintune.tasks.base import Task

SPLIT_TITLES = {"held_out": "held-out patients", "tuning": "tuning patients"}
"""How a page calls the patients of a split."""


@dataclass(frozen=True, kw_only=True)
class Page:
    """The results of a run, as `metrics.json` holds them, and the tasks that they are of."""

    tasks: Mapping[str, Task]
    metrics: Mapping[str, Any]

    @property
    def held_out(self) -> Mapping[str, Any]:
        """Return the scores of held-out samples by task and metric."""
        scores: Mapping[str, Any] = self.metrics["held_out"]
        return scores

    @property
    def titles(self) -> dict[str, str]:
        """Return the title of every metric by its name."""
        return {metric.name: metric.title for metric in self.all_metrics}

    @property
    def all_metrics(self) -> list[Metric]:
        """Return the metrics of all tasks, each name once."""
        found = {metric.name: metric for task in self.tasks.values() for metric in task.metrics}
        return list(found.values())

    @property
    def has_questions(self) -> bool:
        """Return whether some task answers a question by probabilities, which can be calibrated."""
        return any(task.questions for task in self.tasks.values())

    def metric(self, task: str) -> Metric | None:
        """Return the primary metric of a task; of their mean, the one that all of them share."""
        tasks = self.tasks.values() if task == MEAN else [self.tasks[task]]
        first = [one.metrics[0] for one in tasks]
        return first[0] if len({metric.name for metric in first}) == 1 else None

    def kind(self, task: str) -> str:
        """Return the kind of a task in words: `mean`, `binary`, `labels`, `classes` or `other`."""
        if task == MEAN:
            return "mean"
        questions = self.tasks[task].questions
        if not questions:
            return "other"
        if any(question.is_multiclass for question in questions):
            return "classes"
        return "labels" if len(questions) > 1 else "binary"

    def few(self, task: str) -> set[str]:
        """Return the outcomes of a task that fewer than 11 patients have, where counted."""
        views = self.metrics.get("views", {}).get(task, {})
        return {name for name, view in views.items() if view["num_patients"] < SMALLEST_SHOWN}

    def count(self, number: int, split: str, what: str) -> Count:
        """Return how many `subjects` or `samples` of a split have a label.

        Where all of them are counted elsewhere, those without one are hidden as well.
        """
        cohorts = self.metrics.get("cohort", {}).values()
        whole = sum(counts[what][SPLITS.index(split)] for counts in cohorts)
        return Count(number, whole if cohorts and whole > number else None)

    def score(self, values: Mapping[str, Any] | None, metric: Metric, **style: Any) -> Score:
        """Return a score that a page shows with its band where the metric has a scale."""
        return Score(values, ends=scale(metric), **style)


def scale(metric: Metric) -> tuple[float, float, float] | None:
    """Return where a band of this metric begins, where chance is, and where it ends."""
    best = metric.bounds[1]
    if metric.chance is None or not metric.higher_is_better or best == float("inf"):
        return None
    return metric.chance - (best - metric.chance) / 5, metric.chance, best


def output_name(task: str, question: str) -> str:
    """Return the name of a question or view: that of its task where it has none of its own."""
    return f"{task}: {question}" if question else task


def full_stop(text: str) -> str:
    """Return text that ends as a sentence does, so that another may follow."""
    text = text.rstrip()
    return text if text.endswith((".", "!", "?")) else f"{text}."
