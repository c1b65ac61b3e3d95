"""The report of a run: one page that a clinician can read, with the evidence behind it."""

from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

from clintune.core.files import write_text
from clintune.evaluation import figures
from clintune.evaluation.ablations import WHOLE
from clintune.evaluation.disclosure import FEW, SMALLEST_SHOWN, shown_part, shown_together
from clintune.evaluation.intervals import MEAN
from clintune.evaluation.page import page_template
from clintune.evaluation.report_content import SPLITS, ReportContent
from clintune.evaluation.report_tasks import task_sections
from clintune.evaluation.subgroups import VIEW_METRICS

MAX_PANELS = 5
MAX_FOLDS = 10


def write_report(path: Path, content: ReportContent) -> None:
    """Write the report as one HTML file that needs nothing else; equal content gives an equal file."""
    write_text(path, render_report(content))


def render_report(content: ReportContent) -> str:
    """Return the report as HTML."""
    return page_template("report.html.j2").render(
        name=content.name,
        split=SPLITS.get(content.split, content.split),
        num_folds=len(content.metrics.get("folds", [])),
        notes=content.notes,
        first=content.metric(next(iter(content.metrics[content.split]))),
        titles=content.titles,
        view_metrics=VIEW_METRICS,
        directions=_directions(content),
        glossary={
            metric.title: metric.meaning
            for task in content.tasks.values()
            for metric in task.metrics
        },
        summaries=_summaries(content),
        tables=_tables(content),
        tasks=task_sections(content),
        ablations=_ablations(content),
        groups=_groups(content),
        folds=_folds(content),
        tuned="tuning" in content.metrics,
        several_fits=len({figures.fit_of(record) for record in content.history}) > 1,
        history=figures.history(
            content.history,
            content.tasks,
            "history",
            "Loss and tuning score over the steps of training",
        )
        if content.history
        else None,
        provenance=_provenance(content.provenance),
    )


def _directions(content: ReportContent) -> dict[str, list[str]]:
    """Return the titles of the metrics of which more is better, and of those of which less is."""
    metrics = {
        metric.name: metric for task in content.tasks.values() for metric in task.metrics
    }.values()
    named = {"higher": [m.title for m in metrics if m.higher_is_better is True]}
    return named | {"lower": [m.title for m in metrics if m.higher_is_better is False]}


def _summaries(content: ReportContent) -> list[dict[str, Any]]:
    """Return each task's primary metric and who it rests on, the mean over tasks last."""
    scores = content.metrics[content.split]
    return [
        {
            "task": task,
            "metric": metric,
            "score": metrics[metric.name],
            "kind": content.kind(task),
            "positive": _positive(content, task, metrics),
            **_averaged(content, task),
        }
        for task, metrics in scores.items()
        if (metric := content.metric(task)) is not None
    ]


def _averaged(content: ReportContent, task: str) -> dict[str, int]:
    """Return over how many classes or phenotypes a task's score is the average, of how many, and how many are few."""
    outputs = content.outputs.get(task, {})
    first = VIEW_METRICS[0].name
    defined = [name for name, metrics in outputs.items() if metrics[first]["value"] is not None]
    return {
        "outputs": len(outputs),
        "defined": len(defined),
        "few": sum(name in content.few(task) for name in defined),
    }


def _positive(content: ReportContent, task: str, metrics: Mapping[str, Mapping[str, Any]]) -> str:
    score = next(iter(metrics.values()))
    if content.kind(task) not in ("binary", "other") or score["n_positive"] is None:
        return "–"
    return shown_part(score["n_positive"], score["n_samples"])


def _tables(content: ReportContent) -> list[dict[str, Any]]:
    """Return one table a split: a row a task, a column a metric."""
    tables = []
    for split in dict.fromkeys((content.split, *SPLITS)):
        scores = content.metrics.get(split, {})
        titles = content.titles
        names = [name for name in titles if all(name in metrics for metrics in scores.values())]
        others = [
            {"task": task, "metric": name, "score": metrics[name]}
            for task, metrics in scores.items()
            for name in titles
            if name in metrics and name not in names
        ]
        rows = [
            {
                "task": task,
                "metrics": metrics,
                "counts": next(iter(metrics.values())),
                "positive": _positive(content, task, metrics),
            }
            for task, metrics in scores.items()
        ]
        tables.append(
            {"split": SPLITS.get(split, split), "names": names, "rows": rows, "others": others}
        )
    return [table for table in tables if table["rows"]]


def _ablations(content: ReportContent) -> dict[str, Any] | None:
    """Return the bars of each variant and the differences to the whole model, over the mean or the only task."""
    if len(content.ablations) < 2:
        return None
    metrics = {task: content.metric(task) for task in content.ablations[WHOLE]["scores"]}
    known = {task: metric for task, metric in metrics.items() if metric is not None}
    main = MEAN if MEAN in known else next(iter(known))
    drawn = {main: known[main]} if len(known) > MAX_PANELS else known
    panels = {
        task: {
            variant: ablation["scores"][task][metric.name]
            for variant, ablation in content.ablations.items()
        }
        for task, metric in drawn.items()
    }
    name = known[main].name
    rows = [
        {
            "variant": variant,
            "score": ablation["scores"][main][name],
            "difference": ablation["differences"][main][name],
        }
        for variant, ablation in content.ablations.items()
    ]
    title = "Scores of the whole model, of each modality alone and with each modality left out"
    figure = figures.bars(panels, drawn, "ablations", title)
    return {"figure": figure, "rows": rows, "main": main, "title": known[main].title}


def _groups(content: ReportContent) -> list[dict[str, Any]]:
    """Return one table a grouping: a row a group, a column a task; small groups without scores."""
    tables = []
    for column, groups in content.groups.items():
        names = [
            task
            for task in content.predictions
            if any(task in scores for scores in groups.values())
        ]
        sizes = [max(_size(scores[task]) for task in scores) for scores in groups.values()]
        rows = []
        for (group, scores), size in zip(groups.items(), shown_together(sizes), strict=True):
            large = [
                task for task in names if task in scores and _size(scores[task]) >= SMALLEST_SHOWN
            ]
            group = group if large else FEW
            first = {task: content.tasks[task].metrics[0].name for task in large}
            rows.append(
                {
                    "group": group,
                    "size": size,
                    "scores": {task: scores[task][first[task]] for task in large},
                }
            )
        metrics = {task: content.tasks[task].metrics[0] for task in names}
        tables.append({"column": column, "metrics": metrics, "rows": rows})
    return tables


def _size(metrics: Mapping[str, Mapping[str, Any]]) -> int:
    return int(next(iter(metrics.values()))["n_subjects"])


def _folds(content: ReportContent) -> list[dict[str, Any]]:
    """Return each task's primary metric fold by fold; the range and middle where there are many."""
    folds = [fold.get(content.split, {}) for fold in content.metrics.get("folds", [])]
    if not folds:
        return []
    rows = []
    for task, metrics in content.metrics[content.split].items():
        metric = content.metric(task)
        if metric is None:
            continue
        values = {str(i + 1): fold.get(task, {}).get(metric.name) for i, fold in enumerate(folds)}
        if len(values) > MAX_FOLDS:
            known = [value for value in values.values() if value is not None] or [float("nan")]
            values = {"Lowest": min(known), "Median": median(known), "Highest": max(known)}
        rows.append(
            {"task": task, "title": metric.title, "values": values, "score": metrics[metric.name]}
        )
    return rows


def _provenance(record: Mapping[str, Any]) -> dict[str, Any]:
    """Split the record into single values and nested ones, the latter flattened."""
    single = {
        name: _text(value) for name, value in record.items() if not isinstance(value, Mapping)
    }
    nested = {
        name: dict(_flatten(value)) for name, value in record.items() if isinstance(value, Mapping)
    }
    return {"single": single, "nested": nested}


def _flatten(record: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    for name, value in record.items():
        pairs += (
            _flatten(value, f"{prefix}{name} › ")
            if isinstance(value, Mapping)
            else [(f"{prefix}{name}", _text(value))]
        )
    return pairs


def _text(value: Any) -> str:
    return (
        " ".join(map(str, value))
        if isinstance(value, list | tuple)
        else "–"
        if value is None
        else str(value)
    )
