"""What a reader should see first: a card for each task, with its primary score in words."""

from collections.abc import Mapping
from typing import Any

from clintune.core.disclosure import SMALLEST_SHOWN
from clintune.evaluation.intervals import MEAN
from clintune.evaluation.page import Page, full_stop, scale
from clintune.evaluation.scores import positives
from clintune.metrics import Metric
from clintune.metrics.classification import auroc
from clintune.report.section import Card, Cards, Section, Text
from clintune.report.table import Count, Number, Score, readable


def section(page: Page) -> Section:
    """Return how the model was tested and a card a task, that of their mean last."""
    first = page.metric(next(iter(page.held_out)))
    looked_at = (
        "that of each task." if first is None else f"{first.title}. {full_stop(first.meaning)}"
    )
    cards = [
        _card(page, task, metrics[metric.name], metric)
        for task, metrics in page.held_out.items()
        if (metric := page.metric(task)) is not None
    ]
    lead = (
        f"{_how_tested(page)} The figure to look at first is {looked_at} The range behind it says "
        "how far the figure could lie from the truth with this number of patients."
    )
    return Section("In short", [Text(lead, "lead"), Cards(cards)])


def _how_tested(page: Page) -> str:
    folds = len(page.metrics.get("folds", []))
    if not folds:
        return "The model was tested on held-out patients, whom it had not seen in training."
    return (
        f"The model was trained and tested {folds} times, each time on other patients ({folds} "
        "folds): every patient was scored by a model that had never seen them."
    )


def _card(page: Page, task: str, values: Mapping[str, Any], metric: Metric) -> Card:
    score = Score(values, digits=2, ends=scale(metric))
    texts = [Text(_meaning(page, task, score, metric)), *_doubts(page, task, score)]
    texts.append(Text(_whom(page, task, values), "muted"))
    return Card("mean of all tasks" if task == MEAN else task, score, texts)


def _meaning(page: Page, task: str, score: Score, metric: Metric) -> str:
    """Return what a score says, in the words of its kind of task."""
    if score.value is None:
        return "Not defined: the held-out patients all have the same label, or none is known."
    match page.kind(task):
        case "mean":
            return f"{metric.title}, the average of the tasks on this page."
        case "binary":
            return (
                "Of a patient with the outcome and one without, the model gives the higher risk to "
                f"the right one in {Number(100 * score.value, 0)} of 100 such pairs."
            )
        case "labels" | "classes":
            return _average(page, task, metric)
    return f"{metric.title}. {full_stop(metric.meaning)}"


def _average(page: Page, task: str, metric: Metric) -> str:
    """Return over how many outcomes or classes a score is the average."""
    is_class = page.kind(task) == "classes"
    what = "classes, each against all others." if is_class else "outcomes, each scored by itself."

    views = page.metrics.get("views", {}).get(task)
    if views is None:
        return f"{metric.title}, the average over its {what}"
    defined = sum(view["scores"][auroc.name]["value"] is not None for view in views.values())
    text = f"The average over {defined} of {len(views)} {what}"
    if defined == len(views):
        return text

    why = "none of these patients has them" if is_class else "these patients all have or lack them"
    return f"{text} The others cannot be scored: {why}."


def _doubts(page: Page, task: str, score: Score) -> list[Text]:
    """Return what makes a score say little."""
    if score.values is None or score.value is None:
        return []

    said = []
    views = page.metrics.get("views", {}).get(task, {}) if task != MEAN else {}
    scored = {n for n, view in views.items() if view["scores"][auroc.name]["value"] is not None}
    if few := len(scored & page.few(task)):
        said.append(
            f"{few} of them {'has' if few == 1 else 'have'} fewer than {SMALLEST_SHOWN} patients: "
            "what they add to the average is chance to a large part."
        )

    if score.values["n_subjects"] < SMALLEST_SHOWN:
        said.append(
            f"Fewer than {SMALLEST_SHOWN} patients were tested: the figure says little of others."
        )
    if score.ends and score.has_interval and score.values["low"] <= score.ends[1]:
        said.append(
            "The range includes chance: these patients do not show that the model knows anything "
            "here."
        )
    return [Text(text, "warning") for text in said]


def _whom(page: Page, task: str, values: Mapping[str, Any]) -> str:
    """Return whom a score rests on."""
    subjects = page.count(values["n_subjects"], "held_out", "subjects")
    samples = page.count(values["n_samples"], "held_out", "samples")
    part = positives(page, task, values)
    text = f"{readable(subjects)} patients"
    if isinstance(part, Count):
        text += f"; {readable(part)} of {readable(samples)} predictions with the outcome"
    return text
