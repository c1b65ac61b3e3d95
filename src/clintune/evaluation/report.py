"""The report of a run: one page that a clinician can read, with the evidence behind it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import jinja2
from markupsafe import Markup

from clintune.contracts import Predictions
from clintune.core.files import write_text
from clintune.core.text import visible
from clintune.evaluation import figures
from clintune.evaluation.ablations import WHOLE
from clintune.evaluation.confusion import confusion
from clintune.evaluation.disclosure import FEW, SMALLEST_SHOWN, shown, shown_part, shown_together
from clintune.evaluation.intervals import MEAN
from clintune.evaluation.subjects import subjects_having

Scores = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""Task, metric, and an interval's plain values, as one split in `metrics.json`."""

SPLITS = {"held_out": "held-out patients", "tuning": "tuning patients", "train": "training patients"}
METRICS = {
    "auroc": "AUROC",
    "auprc": "AUPRC",
    "accuracy": "Accuracy",
    "brier": "Brier score",
    "ece": "Calibration error",
    "auroc_micro": "AUROC, pooled",
    "auprc_micro": "AUPRC, pooled",
}
MAX_PANELS = 5
MAX_FOLDS = 10


@dataclass(frozen=True, kw_only=True)
class ReportContent:
    """What a report tells.

    `metrics` is what stands in `metrics.json`, the folds included; `predictions[task]` are those of `split`, which the
    figures show, and `output_names[task]` name their columns. `history` are the records of `history.jsonl`.
    `ablations[variant]`, `groups[column][group]` and `outputs[task][name]` are the plain values of `Ablation`,
    `by_group` and `by_output`. `notes` are sentences about this run, such as items that could not be read.
    """

    name: str
    metrics: Mapping[str, Any]
    predictions: Mapping[str, Predictions]
    output_names: Mapping[str, list[str]]
    split: str = "held_out"
    history: Sequence[Mapping[str, Any]] = ()
    ablations: Mapping[str, Mapping[str, Scores]] = field(default_factory=dict)
    groups: Mapping[str, Mapping[str, Scores]] = field(default_factory=dict)
    outputs: Mapping[str, Scores] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()


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
        summaries=_summaries(content),
        tables=_tables(content),
        tasks=_tasks(content),
        ablations=_ablations(content),
        groups=_groups(content),
        folds=_folds(content),
        tuned="tuning" in content.metrics,
        several_fits=len({figures.fit_of(record) for record in content.history}) > 1,
        history=figures.history(content.history, "history", "Loss and tuning score over the steps of training")
        if content.history
        else None,
        provenance=_provenance(content.provenance),
    )


def page_template(name: str, *folders: Path) -> jinja2.Template:
    """Return the template of a page, from `folders` or beside this file, with the filters and names they share."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([*folders, Path(__file__).parent]),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        finalize=_shown,
    )
    environment.filters |= {"num": _number, "shown": shown, "position": _position}
    environment.globals |= {"smallest": SMALLEST_SHOWN, "metric_names": METRICS, "mean_name": MEAN}
    return environment.get_template(name)


def _shown(value: object) -> object:
    """Return what an expression of a page gives, without characters that hide or turn others; figures as they are."""
    return value if isinstance(value, Markup) else visible(value)


def _summaries(content: ReportContent) -> list[dict[str, Any]]:
    """Return each task's AUROC and who it rests on, the mean over tasks last."""
    scores = content.metrics[content.split]
    return [
        {
            "task": task,
            "score": metrics["auroc"],
            "kind": _kind(content, task),
            "positive": _positive(content, task, metrics),
            **_averaged(content, task),
        }
        for task, metrics in scores.items()
        if "auroc" in metrics
    ]


def _averaged(content: ReportContent, task: str) -> dict[str, int]:
    """Return over how many classes or phenotypes a task's score is the average, of how many, and how many are few."""
    outputs = content.outputs.get(task, {})
    defined = [name for name, metrics in outputs.items() if metrics["auroc"]["value"] is not None]
    return {
        "outputs": len(outputs),
        "defined": len(defined),
        "few": sum(name in _few(content, task) for name in defined),
    }


def _few(content: ReportContent, task: str) -> set[str]:
    """Return the classes or phenotypes of a task that fewer than 11 patients have."""
    names = content.output_names[task]
    having = subjects_having(content.predictions[task], len(names))
    return {name for name, number in zip(names, having, strict=True) if number < SMALLEST_SHOWN}


def _kind(content: ReportContent, task: str) -> str:
    """Return `mean`, or by the shapes of the predictions `binary`, `classes` or `labels`."""
    if task not in content.predictions:
        return MEAN
    predictions = content.predictions[task]
    width, outputs = predictions.targets.shape[1], predictions.probabilities.shape[1]
    return "classes" if width < outputs else "labels" if outputs > 1 else "binary"


def _positive(content: ReportContent, task: str, metrics: Mapping[str, Mapping[str, Any]]) -> str:
    score = next(iter(metrics.values()))
    if _kind(content, task) != "binary":
        return "–"
    return shown_part(score["n_positive"], score["n_samples"])


def _tables(content: ReportContent) -> list[dict[str, Any]]:
    """Return one table a split: a row a task, a column a metric."""
    tables = []
    for split in dict.fromkeys((content.split, *SPLITS)):
        scores = content.metrics.get(split, {})
        names = [name for name in METRICS if all(name in metrics for metrics in scores.values())]
        others = [
            {"task": task, "metric": name, "score": metrics[name]}
            for task, metrics in scores.items()
            for name in METRICS
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
        tables.append({"split": SPLITS.get(split, split), "names": names, "rows": rows, "others": others})
    return [table for table in tables if table["rows"]]


def _tasks(content: ReportContent) -> list[dict[str, Any]]:
    """Return the figures of each task, and its table of phenotypes or classes."""
    sections = []
    for number, (task, predictions) in enumerate(content.predictions.items()):
        lines, pooled = figures.lines_of(predictions, content.output_names[task])
        title = f"{task}: ROC, precision-recall and calibration curves of {SPLITS.get(content.split, content.split)}"
        few = _few(content, task)
        outputs = {name: scores for name, scores in content.outputs.get(task, {}).items() if name not in few}
        counts = shown_together([metrics["auroc"]["n_positive"] for metrics in outputs.values()])

        sections.append(
            {
                "task": task,
                "kind": _kind(content, task),
                "few": len(few & content.outputs.get(task, {}).keys()),
                "confusion": confusion(predictions, content.output_names[task])
                if _kind(content, task) == "classes"
                else None,
                "figure": figures.curves(lines, pooled, f"task{number}", title) if lines and pooled.plottable else None,
                "outputs": [
                    {"name": name, "positive": count, **metrics}
                    for (name, metrics), count in zip(outputs.items(), counts, strict=True)
                ],
            }
        )
    return sections


def _ablations(content: ReportContent) -> dict[str, Any] | None:
    """Return the bars of each variant and the differences to the whole model, over the mean or the only task."""
    if len(content.ablations) < 2:
        return None
    tasks = list(content.ablations[WHOLE]["scores"])
    main = MEAN if MEAN in tasks else tasks[0]
    drawn = tasks if len(tasks) <= MAX_PANELS else [main]
    panels = {
        task: {variant: ablation["scores"][task]["auroc"] for variant, ablation in content.ablations.items()}
        for task in drawn
    }
    rows = [
        {
            "variant": variant,
            "score": ablation["scores"][main]["auroc"],
            "difference": ablation["differences"][main]["auroc"],
        }
        for variant, ablation in content.ablations.items()
    ]
    title = "AUROC of the whole model, of each modality alone and with each modality left out"
    return {"figure": figures.bars(panels, "ablations", title), "rows": rows, "main": main}


def _groups(content: ReportContent) -> list[dict[str, Any]]:
    """Return one table a grouping: a row a group, a column a task; small groups without scores."""
    tables = []
    for column, groups in content.groups.items():
        names = [task for task in content.predictions if any(task in scores for scores in groups.values())]
        sizes = [max(_size(scores[task]) for task in scores) for scores in groups.values()]
        rows = []
        for (group, scores), size in zip(groups.items(), shown_together(sizes), strict=True):
            large = [task for task in scores if _size(scores[task]) >= SMALLEST_SHOWN]
            group = group if large else FEW
            rows.append({"group": group, "size": size, "scores": {task: scores[task]["auroc"] for task in large}})
        tables.append({"column": column, "names": names, "rows": rows})
    return tables


def _size(metrics: Mapping[str, Mapping[str, Any]]) -> int:
    return int(next(iter(metrics.values()))["n_subjects"])


def _folds(content: ReportContent) -> list[dict[str, Any]]:
    """Return each task's AUROC fold by fold; the range and middle where there are many."""
    folds = [fold.get(content.split, {}) for fold in content.metrics.get("folds", [])]
    if not folds:
        return []
    rows = []
    for task, metrics in content.metrics[content.split].items():
        values = {str(i + 1): fold.get(task, {}).get("auroc") for i, fold in enumerate(folds)}
        if len(values) > MAX_FOLDS:
            known = [value for value in values.values() if value is not None] or [float("nan")]
            values = {"Lowest": min(known), "Median": median(known), "Highest": max(known)}
        rows.append({"task": task, "values": values, "score": metrics["auroc"]})
    return rows


def _provenance(record: Mapping[str, Any]) -> dict[str, Any]:
    """Split the record into single values and nested ones, the latter flattened."""
    single = {name: _text(value) for name, value in record.items() if not isinstance(value, Mapping)}
    nested = {name: dict(_flatten(value)) for name, value in record.items() if isinstance(value, Mapping)}
    return {"single": single, "nested": nested}


def _flatten(record: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    for name, value in record.items():
        pairs += (
            _flatten(value, f"{prefix}{name} › ") if isinstance(value, Mapping) else [(f"{prefix}{name}", _text(value))]
        )
    return pairs


def _text(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else "–" if value is None else str(value)


def _number(value: float | None, digits: int = 3, sign: bool = False) -> str:
    if value is None:
        return "–"
    return f"{value:{'+' if sign else ''}.{digits}f}".replace("-", "−")


def _position(value: float, low: float, high: float) -> float:
    """Return where a value stands between two ends, from 0 to 100."""
    return round(100 * min(max((value - low) / (high - low), 0.0), 1.0), 2)
