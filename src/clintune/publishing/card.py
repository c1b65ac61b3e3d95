"""The model card of a release: Markdown with the Hugging Face Hub's metadata (Mitchell et al., FAT* 2019)."""

import re
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import jinja2
import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData
from markupsafe import Markup

from clintune.core.text import markdown, visible
from clintune.evaluation.disclosure import FEW, SMALLEST_SHOWN, shown, shown_part, shown_together
from clintune.evaluation.intervals import Interval
from clintune.experiment.folds import SPLITS
from clintune.publishing.card_answers import Answers
from clintune.publishing.card_facts import Facts
from clintune.publishing.operating_points import OperatingPoint
from clintune.publishing.question_names import output_name

_PIPELINES = {
    frozenset({"notes"}): "text-classification",
    frozenset({"imaging"}): "image-classification",
    frozenset({"static"}): "tabular-classification",
}
"""The Hub's tasks that fit; it has none for several modalities at once."""
_ALIVE = re.compile(r"[<>\[\]`*~]")
"""Characters by which names become elements, links or code."""
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def write_card(facts: Facts, answers: Answers, *, draft: bool, num_canaries: int = 0) -> str:
    """Return the card; its metadata are read back by huggingface_hub."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # Markdown, of which `finalize` escapes what is not marked as safe
        finalize=_escaped,
    )
    environment.filters |= {"interval": _interval, "num": _number, "share": _share}
    environment.globals |= {"smallest": SMALLEST_SHOWN, "splits": SPLITS}

    text = environment.get_template("card.md.j2").render(
        metadata=_inert(_metadata(facts, answers)),
        draft=draft,
        num_canaries=num_canaries,
        facts=facts,
        answers=answers,
        scores=_scores(facts),
        groups=_groups(facts),
        carbon=_carbon(facts, answers),
        created=_day(facts.provenance["created"]),
        left_alone=_left_alone(facts),
        point_scores=_point_scores,
        calibration_metrics=_calibration_metrics(facts),
    )

    ModelCard(text)  # raises where the Hub could not read it
    return text


def _metadata(facts: Facts, answers: Answers) -> ModelCardData:
    bases = [
        source
        for part in facts.weights.values()
        if _HUB_ID.fullmatch(source := str(part["source"]))
    ]
    language = answers.given.get("language")
    return ModelCardData(
        model_name=facts.name,
        library_name="clintune",
        license=answers.given.get("license"),
        language=None if language == "none" else language,
        base_model=list(dict.fromkeys(bases)) or None,
        pipeline_tag=_PIPELINES.get(frozenset(facts.modalities)),
        tags=[
            "clinical",
            "medical",
            *facts.modalities,
            *([facts.adapter] if facts.adapter == "lora" else []),
        ],
        eval_results=_results(facts) or None,
    )


def _results(facts: Facts) -> list[EvalResult]:
    data = ", ".join(facts.cohorts)
    return [
        EvalResult(
            task_type=_PIPELINES.get(frozenset(facts.modalities), "other"),
            task_name=name,
            dataset_type=data,
            dataset_name=data,
            dataset_config=name,
            dataset_split="held_out",
            metric_type=metric.hub_id or metric.name,
            metric_name=metric.title,
            metric_value=round(score.value, 4),
        )
        for name, task in facts.tasks.items()
        for metric, score in zip(task.metrics, facts.scores[name].values(), strict=True)
        if score.value == score.value
    ]


def _scores(facts: Facts) -> list[dict[str, Any]]:
    """Return a row a task and metric, with the counts that may be shown."""
    titles = {metric.name: metric.title for task in facts.tasks.values() for metric in task.metrics}
    return [
        {
            "task": task,
            "metric": titles[metric],
            "score": score,
            "subjects": _subjects(facts, score),
            "positive": _positive(facts, task, score),
        }
        for task, scores in facts.scores.items()
        for metric, score in scores.items()
    ]


def _subjects(facts: Facts, score: Interval) -> str:
    """Return how many held-out subjects a score is of: beside all of them, this may tell who has no label."""
    complete = score.n_subjects == facts.num_held_out
    return shown(score.n_subjects) if complete else shown_part(score.n_subjects, facts.num_held_out)


def _positive(facts: Facts, task: str, score: Interval) -> str:
    """Return how many samples of a task with one positive answer are positive."""
    if score.n_positive is None or task not in facts.tasks or len(facts.tasks[task].questions) > 1:
        return "–"
    return shown_part(score.n_positive, score.n_samples)


def _left_alone(facts: Facts) -> list[tuple[str, str]]:
    """Return the outputs that were not calibrated, with the reason."""
    return [
        (output_name(task, question.name), reason)
        for task, fitted in facts.calibrations.items()
        for question, reason in zip(facts.tasks[task].questions, fitted.reasons, strict=True)
        if reason is not None
    ]


def _calibration_metrics(facts: Facts) -> dict[str, str]:
    """Return the titles of the metrics of calibration, by name."""
    metrics = [metric for task in facts.tasks.values() for metric in task.metrics]
    return {metric.name: metric.title for metric in metrics if metric.of_calibration}


def _groups(facts: Facts) -> list[dict[str, Any]]:
    """Return a row a grouping, group and task; small groups without a score."""
    rows = []
    for by, groups in facts.groups.items():
        for task in facts.tasks:
            first = facts.tasks[task].metrics[0]
            having = {
                group: scores[task][first.name]
                for group, scores in groups.items()
                if task in scores
            }
            sizes = _sizes(facts, task, [score.n_subjects for score in having.values()])
            rows += [
                {
                    "by": by,
                    "group": group if score.n_subjects >= SMALLEST_SHOWN else FEW,
                    "task": task,
                    "metric": first.title,
                    "size": size,
                    "score": score if score.n_subjects >= SMALLEST_SHOWN else None,
                }
                for (group, score), size in zip(having.items(), sizes, strict=True)
            ]
    return rows


def _sizes(facts: Facts, task: str, counts: list[int]) -> list[str]:
    """Return the sizes of groups as text; subjects of the task that stand in none of them are a group, too."""
    rest = max((score.n_subjects for score in facts.scores[task].values()), default=0) - sum(counts)
    return shown_together([*counts, rest])[: len(counts)] if rest > 0 else shown_together(counts)


def _point_scores(point: OperatingPoint) -> list[str]:
    return [
        str(_interval(point.scores.get(name)))
        for name in ("sensitivity", "specificity", "PPV", "NPV")
    ]


def _carbon(facts: Facts, answers: Answers) -> float | None:
    """Return grams of CO2 equivalents, None where energy or grid are unknown."""
    kwh, grams = facts.compute.kwh, answers.grams_a_kwh
    return None if kwh is None or grams is None else kwh * grams


def _interval(score: Interval | None) -> Markup:
    if score is None or score.value != score.value:
        return Markup("–")
    if score.low != score.low:
        return Markup(f"{score.value:.3f} (no interval)")
    return Markup(f"{score.value:.3f} ({score.low:.3f} to {score.high:.3f})")


def _number(values: Mapping[str, float | None], name: str) -> str:
    value = values.get(name)
    return "–" if value is None else f"{value:.3f}"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"


def _escaped(value: object) -> object:
    """Return what an expression of the card gives, as Markdown that shows just this text; a dash for None."""
    return value if isinstance(value, Markup) else "–" if value is None else markdown(value)


class _Quoted(yaml.SafeDumper):  # type: ignore[misc]
    """Writes a string that Markdown or HTML could take for its own between double quotes."""


_Quoted.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar(
        "tag:yaml.org,2002:str", text, style='"' if _ALIVE.search(text) else None
    ),
)


def _inert(metadata: ModelCardData) -> Markup:
    """Return metadata as YAML in which names mean nothing to a reader of Markdown that does not know of metadata."""
    shown = _visible(yaml.safe_load(metadata.to_yaml()))
    text = yaml.dump(
        shown, Dumper=_Quoted, sort_keys=False, allow_unicode=True, width=10_000
    ).rstrip()
    quoted = re.compile(r'"(?:[^"\\]|\\.)*"')
    return Markup(
        quoted.sub(lambda string: _ALIVE.sub(lambda c: f"\\x{ord(c[0]):02x}", string[0]), text)
    )


def _visible(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _visible(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_visible(part) for part in value]
    return visible(value) if isinstance(value, str) else value


def _day(moment: str) -> str:
    """Return a day in words: in digits it would look like one in a note."""
    return datetime.fromisoformat(moment).strftime("%-d %B %Y")
