"""The report of a run: one page that a clinician can read, with the evidence behind it."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from clintune.core.files import write_text
from clintune.evaluation import scores, summary
from clintune.evaluation.analysis import Analyses, sections_of
from clintune.evaluation.page import Page, full_stop
from clintune.report.page import render_page
from clintune.report.section import Section, Terms

_ABOUT = "How well a model of several kinds of patient data does, and for whom"
_WARNING = (
    "This model is not a medical device and has not been tested in care. Do not use it to decide "
    "about a patient."
)
_TERMS = {
    "95 % interval": "If the study were repeated with other patients of the same kind, about 95 of "
    "100 such intervals would hold the true value.",
    "Held-out, tuning": "Patients kept away from training: the held-out ones until the very end, "
    "the tuning ones to choose when to stop.",
    "Fold": "One of several equal parts of the patients, each of which is tested once by a model "
    "trained on the others.",
}


def write_report(
    path: Path, name: str, page: Page, analyses: Analyses, provenance: Mapping[str, Any]
) -> None:
    """Write the report as one HTML file that needs nothing else."""
    write_text(path, render_report(name, page, analyses, provenance))


def render_report(name: str, page: Page, analyses: Analyses, provenance: Mapping[str, Any]) -> str:
    """Return the report as HTML: drawn from `metrics.json` and the provenance alone."""
    # Without questions nothing is calibrated, and those scores would stand here twice.
    if not page.has_questions:
        analyses = {name: part for name, part in analyses.items() if name != "calibrated"}

    sections = [summary.section(page), scores.section(page), *sections_of(analyses, page)]
    sections += [_origin(provenance)] if provenance else []
    glossary = {metric.title: full_stop(metric.meaning) for metric in page.all_metrics}
    sections.append(Section("Glossary", [Terms(glossary | _TERMS)]))
    return render_page(f"{name}: evaluation report", _ABOUT, _WARNING, sections)


def _origin(provenance: Mapping[str, Any]) -> Section:
    """Return the record of code and data, nested parts folded away."""
    single = {key: _text(v) for key, v in provenance.items() if not isinstance(v, Mapping)}
    nested = [
        Terms(dict(_flatten(value)), title=key)
        for key, value in provenance.items()
        if isinstance(value, Mapping) and value
    ]
    return Section("Data and origin", [Terms(single), *nested])


def _flatten(record: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in record.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{name} › ")
        else:
            yield f"{prefix}{name}", _text(value)


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return " ".join(map(str, value))
    return "–" if value is None else str(value)
