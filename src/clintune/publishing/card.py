"""The model card of a release (Mitchell et al., FAT* 2019).

It is Markdown with the Hugging Face Hub's metadata.
"""

import re
from datetime import datetime
from pathlib import Path
from typing import Any

import jinja2
import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData
from markupsafe import Markup

from clintune.core.disclosure import SMALLEST_SHOWN
from clintune.core.text import visible
from clintune.evaluation.analysis import sections_of
from clintune.publishing.card_answers import Answers
from clintune.publishing.card_facts import Facts
from clintune.report.markdown import escape, render_markdown

_PIPELINES = {
    frozenset({"notes"}): "text-classification",
    frozenset({"imaging"}): "image-classification",
    frozenset({"static"}): "tabular-classification",
}
"""The Hub's tasks that fit; it has none for several modalities at once."""
_ALIVE = re.compile(r"[<>\[\]`*~]")
"""Characters by which names become elements, links or code."""
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
"""A quoted string of YAML."""
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
    environment.globals |= {"smallest": SMALLEST_SHOWN}

    sections = sections_of(facts.analyses, facts.page)
    text = environment.get_template("card.md.j2").render(
        metadata=_inert(_metadata(facts, answers)),
        draft=draft,
        num_canaries=num_canaries,
        facts=facts,
        answers=answers,
        sections=Markup(render_markdown(sections)),
        lacks_calibration=facts.page.has_questions and "calibration" not in facts.page.metrics,
        is_attacked="membership" in facts.page.metrics,
        carbon=_carbon(facts, answers),
        created=_day(facts.provenance["created"]),
    )

    ModelCard(text)  # raises where the Hub could not read it
    return text


def _metadata(facts: Facts, answers: Answers) -> ModelCardData:
    """Return what the Hub reads of a card."""
    sources = [str(part["source"]) for part in facts.weights.values()]
    bases = [source for source in sources if _HUB_ID.fullmatch(source)]
    language = answers.given.get("language")
    adapters = [facts.adapter] if facts.adapter == "lora" else []

    return ModelCardData(
        model_name=facts.name,
        library_name="clintune",
        license=answers.given.get("license"),
        language=None if language == "none" else language,
        base_model=list(dict.fromkeys(bases)) or None,
        pipeline_tag=_PIPELINES.get(frozenset(facts.modalities)),
        tags=["clinical", "medical", *facts.modalities, *adapters],
        eval_results=_results(facts) or None,
    )


def _results(facts: Facts) -> list[EvalResult]:
    """Return the scores of calibrated probabilities that are defined."""
    data = ", ".join(facts.cohorts)
    kind = _PIPELINES.get(frozenset(facts.modalities), "other")
    scores = facts.page.metrics["calibrated"]["held_out"]

    found = []
    for name, task in facts.page.tasks.items():
        for metric in task.metrics:
            value = scores[name][metric.name]["value"]
            if value is None:
                continue
            result = EvalResult(
                task_type=kind,
                task_name=name,
                dataset_type=data,
                dataset_name=data,
                dataset_config=name,
                dataset_split="held_out",
                metric_type=metric.hub_id or metric.name,
                metric_name=metric.title,
                metric_value=round(value, 4),
            )
            found.append(result)
    return found


def _carbon(facts: Facts, answers: Answers) -> float | None:
    """Return grams of CO2 equivalents, None where energy or grid are unknown."""
    kwh, grams = facts.page.metrics.get("compute", {}).get("kwh"), answers.grams_a_kwh
    return None if kwh is None or grams is None else kwh * grams


def _escaped(value: object) -> object:
    """Return what an expression of the card gives, as Markdown that shows just this text.

    None gives a dash.
    """
    return value if isinstance(value, Markup) else "–" if value is None else escape(value)


class _Quoted(yaml.SafeDumper):  # type: ignore[misc]
    """Writes a string that Markdown or HTML could take for its own between double quotes."""


def _represent(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    """Quote a text with a character that could come alive."""
    style = '"' if _ALIVE.search(text) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Quoted.add_representer(str, _represent)


def _inert(metadata: ModelCardData) -> Markup:
    """Return metadata as YAML in which names mean nothing to a reader of plain Markdown.

    Such a reader does not know of metadata.
    """
    shown = _visible(yaml.safe_load(metadata.to_yaml()))
    text = yaml.dump(shown, Dumper=_Quoted, sort_keys=False, allow_unicode=True, width=10_000)
    return Markup(_STRING.sub(_escaped_string, text.rstrip()))


def _escaped_string(string: re.Match[str]) -> str:
    """Return a quoted string of YAML with its living characters as escapes."""
    return _ALIVE.sub(lambda found: f"\\x{ord(found[0]):02x}", string[0])


def _visible(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _visible(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_visible(part) for part in value]
    return visible(value) if isinstance(value, str) else value


def _day(moment: str) -> str:
    """Return a day in words: in digits it would look like one in a note."""
    return datetime.fromisoformat(moment).strftime("%-d %B %Y")
