"""The report: whole, self-contained, equal for equal input, and silent about single patients."""

import json
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from datetime import datetime
from html.parser import HTMLParser

import numpy as np
import polars as pl
import pytest

from clintune.contracts import Predictions
from clintune.evaluation import scores
from clintune.evaluation.analyses import ablations
from clintune.evaluation.analyses.training import history_points
from clintune.evaluation.analysis import load_analyses, run_analyses
from clintune.evaluation.context import Context
from clintune.evaluation.page import Page
from clintune.evaluation.report import render_report
from clintune.evaluation.subjects import take
from clintune.metrics import regression
from clintune.tasks.binary import Binary
from clintune.tasks.calibration import Calibration
from clintune.tasks.multiclass import Multiclass
from clintune.tasks.multilabel import Multilabel
from clintune.tasks.regression import Regression
from helpers.hostile_names import NAMES, Alive, hidden

TASKS = {
    "icu": Binary(label="icu"),
    "rare": Binary(label="rare"),
    "pheno": Multilabel(label="pheno", phenotypes=["sepsis <b>", "aki"]),
    "kind": Multiclass(label="kind", classes=["viral", "bacterial", "none"]),
}
FIRST_ID = 987_654_000


def predict(num_positive_rare=7, folds=1):
    n = 150
    rng = np.random.default_rng(0)
    kind = rng.integers(0, 3, n)
    targets = {
        "icu": rng.random((n, 1)) < 0.4,
        "rare": np.arange(n)[:, None] < num_positive_rare,
        "pheno": rng.random((n, 2)) < 0.3,
        "kind": kind[:, None],
    }
    widths = {"icu": 1, "rare": 1, "pheno": 2, "kind": 3}

    result = {}
    for name, target in targets.items():
        truth = np.eye(3)[kind] if name == "kind" else target
        risks = rng.random((n, widths[name])) + 0.5 * truth
        risks /= risks.sum(1, keepdims=True) if name == "kind" else 2
        result[name] = Predictions(
            cohort=np.full(n, "here"),
            subject_id=FIRST_ID + np.arange(n),
            prediction_time=[datetime(2031, 7, 5, 3, 1)] * n,
            fold=np.arange(n) % folds,
            targets=target.astype(np.float32),
            predicted=risks.astype(np.float32),
        )
    return result


SITES = pl.DataFrame(
    {
        "subject_id": FIRST_ID + np.arange(150),
        "site": ["large"] * 83 + ["mid"] * 63 + ["tiny"] * 4,
    }
)
RECORDS = [
    {
        "repeat": 0,
        "fold": fold,
        "member": 0,
        "step": step,
        "loss": 1 / step,
        "tuning/loss": 0.5,
        "tuning/icu/auroc": 0.7,
    }
    for fold in (0, 1)
    for step in (1, 2, 3)
]
SHOWN = (
    "curves figures views confusion ablations groups folds calibrated calibration training limits"
)
ANALYSES = load_analyses(SHOWN.split())


def analyse(predictions, tasks=TASKS, folds=1, **other):
    """Return the metrics of predictions that are those of both splits and all variants."""
    modalities = ["image", "notes", "labs"]
    variants = dict.fromkeys(ablations.variants(modalities), predictions)
    identity = {name: Calibration.identity(task.questions) for name, task in tasks.items()}
    context = Context(
        run=None,
        config=None,
        samples=None,
        tasks=tasks,
        modalities=modalities,
        groups={"here": SITES},
        raw={"held_out": variants, "tuning": {"whole": predictions}},
        calibrations=[identity] * folds,
        split=None if folds > 1 else np.zeros(0, str),
        replicates=30,
    )
    context = replace(context, **other)

    # Two analyses read the run folder, which there is none of.
    alone = {n: part for n, part in ANALYSES.items() if n not in ("training", "limits")}
    metrics = scores.run(context) | run_analyses(alone, context)
    metrics["training"] = history_points(RECORDS, {"tuning/icu/auroc": "icu"})
    metrics["limits"] = ["Some items could not be read."]
    return json.loads(json.dumps(metrics))


def page_of(metrics, tasks=TASKS):
    """Return the report that is drawn from metrics.json alone."""
    return render_report("first_try", Page(tasks=tasks, metrics=metrics), ANALYSES, PROVENANCE)


def make(folds=1, **other):
    return analyse(predict(folds=folds, **other), folds=folds)


PROVENANCE = {
    "clintune": "0.1.0",
    "modules": {},
    "cohorts": {"here": {"files": {"data/0.parquet": "ab" * 32}}},
}


@pytest.fixture(scope="module")
def metrics():
    return make()


@pytest.fixture(scope="module")
def page(metrics):
    return page_of(metrics)


def visible(html):
    """Return the text of a page without styles, tags and the figures' coordinates."""
    return re.sub(r"<[^>]*>", " ", re.sub(r"<(style|title)\b.*?</\1>", " ", html, flags=re.DOTALL))


class Balance(HTMLParser):
    """Collects tags closed in the wrong order, ids that stand twice, and broken references."""

    VOID = frozenset({"meta", "br"})

    def __init__(self):
        super().__init__()
        self.open, self.wrong, self.ids, self.references = [], [], [], set()

    def handle_starttag(self, tag, attrs):
        self._note(attrs)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self._note(attrs)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append((tag, self.getpos()))

    def _note(self, attrs):
        for name, value in attrs:
            if name == "id":
                self.ids.append(value)
            elif name == "aria-labelledby":
                self.references.add(value)
            elif name.endswith("href"):
                self.references.add(value.removeprefix("#"))
            elif value and (found := re.match(r"url\(#(.+)\)", value)):
                self.references.add(found.group(1))


def test_the_page_is_well_formed_and_its_references_exist(page):
    balance = Balance()
    balance.feed(page)
    assert not balance.wrong
    assert not balance.open
    assert len(balance.ids) == len(set(balance.ids))
    assert balance.references <= set(balance.ids)


def test_a_part_of_the_origin_with_nothing_in_it_has_no_heading(page):
    assert "here › files › data/0.parquet" in page
    assert "modules" not in page


def test_the_page_needs_nothing_from_elsewhere(page):
    assert not re.search(r"""(src|href|srcset|action)\s*=\s*["'](?!#)""", page)
    assert not re.search(r"@import|url\((?!#)|<script|<link|<iframe|<img", page)


def test_equal_metrics_give_an_equal_page(page):
    assert page_of(make()) == page


def test_no_subject_or_time_is_named(page):
    assert not re.search(r"987654\d\d\d|987,654|2031|03:01", page)


def test_no_count_under_eleven_is_shown(page):
    text = visible(page)
    cells = re.findall(r'<td class="count">(.*?)</td>', page)
    assert cells
    assert not [cell for cell in cells if cell.isdigit() and int(cell) < 11]
    assert "&lt;11" in cells
    assert not re.search(r"\b([1-9]|10) (patients|of \d+ predictions|predictions)", text)


def test_a_hidden_group_cannot_be_found_by_subtraction(page):
    rows = re.findall(
        r'<th scope="row">(large|mid|tiny|group.*?)</th><td class="count">(.*?)</td>', page
    )
    told = [("large", "83"), ("mid", "11 or more"), ("group with fewer than 11", "&lt;11")]
    assert rows == told * 2  # before and after calibration
    tiny = page[page.index('<th scope="row">group with fewer than 11</th>') :].split("</tr>")[0]
    assert tiny.count("too few") == len(TASKS)


def part_of(page, section, heading):
    """Return what stands below a heading of a section."""
    text = re.search(rf"<h2[^>]*>{section}</h2>.*?</section>", page, re.DOTALL).group()
    return re.split(r"<h3>", text.split(f"<h3>{heading}</h3>")[1])[0]


def test_a_task_of_few_patients_gets_words_instead_of_curves(page):
    part = part_of(page, "Curves", "rare")
    assert "<svg" not in part
    assert "No curves" in part
    nearly_all = page_of(make(num_positive_rare=145))
    assert "<svg" not in part_of(nearly_all, "Curves", "rare")
    assert "145" not in visible(nearly_all)


def test_the_summary_gives_each_tasks_score_with_its_interval(metrics, page):
    summary = visible(page.split(">Scores<")[0])
    for found in metrics["held_out"].values():
        score = found["auroc"]
        assert re.search(
            rf"{score['value']:.2f}\s+{score['low']:.2f} to {score['high']:.2f}", summary
        )


def test_every_figure_has_a_title_for_those_who_cannot_see_it(page):
    figures = re.findall(
        r'<svg role="img" aria-labelledby="([^"]+)".*?><title id="\1">(.+?)</title>', page
    )
    assert len(figures) == 5  # three tasks with curves, ablations, history


def test_names_are_escaped(page):
    assert "<b>sepsis" not in page
    assert "sepsis <b>" not in page
    assert "sepsis &lt;b&gt;" in page


def test_few_folds_are_tabulated_and_many_are_a_range():
    few, many = (visible(page_of(make(folds=folds))) for folds in (3, 12))
    assert "trained and tested 3 times" in few
    assert "Median" not in few
    assert "trained and tested 12 times" in many
    assert "Median" in many


def test_a_run_with_one_undefined_task_still_has_a_report():
    part = predict()["icu"]
    part = replace(part, targets=np.zeros_like(part.targets))
    tasks = {"icu": TASKS["icu"]}
    found = analyse({"icu": part}, tasks)
    bare = {"held_out": found["held_out"], "curves": found["curves"]}
    text = visible(page_of(bare, tasks))
    assert "Not defined" in text
    assert "No curves" in text
    assert "Groups" not in text


def test_only_what_was_tuned_speaks_of_tuning(metrics, page):
    untuned = {name: part for name, part in metrics.items() if name != "tuning"}
    assert "tuning patients take no part in learning" in visible(page)
    assert "tuning patients take no part" not in visible(page_of(untuned))


def renamed(name):
    """Return metrics and tasks in which everything that a person names has this name."""
    tasks = {
        f"{name} icu": Binary(label=name),
        f"{name} rare": Binary(label=name),
        f"{name} pheno": Multilabel(label=name, phenotypes=[f"{name} {i}" for i in range(2)]),
        f"{name} kind": Multiclass(label=name, classes=[f"{name} {i}" for i in range(3)]),
    }
    predictions = dict(zip(tasks, predict().values(), strict=True))
    sites = SITES.select("subject_id", pl.col("site").replace({"large": f"{name} 0"}).alias(name))

    found = analyse(predictions, tasks, groups={"here": sites})
    found["training"] = history_points(RECORDS, {"tuning/icu/auroc": f"{name} icu"})
    found["limits"] = [f"{name}: many samples have none"]
    found["ablations"] = {
        variant.replace("notes", name): part for variant, part in found["ablations"].items()
    }
    return found, tasks


@pytest.mark.parametrize(
    "name", [" ".join(NAMES), "\n".join(reversed(NAMES))], ids=["one_line", "lines"]
)
def test_no_name_comes_alive_on_the_page(page, name):
    found, tasks = renamed(name)
    origin = {"command": ["clintune", name], "cohorts": {name: {"files": {name: "ab"}}}}
    html = render_report(name, Page(tasks=tasks, metrics=found), ANALYSES, origin)
    plain, found = Alive(page), Alive(html)
    assert set(found.tags) <= set(plain.tags)
    assert found.tags.count("svg") == plain.tags.count("svg")
    assert not found.handlers
    assert found.links == plain.links
    assert not hidden(html)
    assert "49" not in [text.strip() for text in found.texts]
    for figure in re.findall(r"<svg role.*?</svg>", html, flags=re.DOTALL):
        ET.fromstring(figure)


def test_a_class_of_few_patients_is_not_named():
    predictions = predict()
    kind = predictions["kind"]
    few = np.where(np.arange(150)[:, None] < 8, 2, np.minimum(kind.targets, 1))
    probabilities = np.column_stack([kind.predicted, np.zeros(150, np.float32)])
    kind = replace(kind, targets=few.astype(np.float32), predicted=probabilities)
    task = Multiclass(label="kind", classes=["viral", "bacterial", "quartermain", "absent"])
    tasks = {**TASKS, "kind": task}
    html = page_of(analyse({**predictions, "kind": kind}, tasks), tasks)
    text = " ".join(visible(html).split())

    assert "The average over 3 of 4 classes, each against all others. The others cannot be" in text
    assert "1 of them has fewer than 11 patients" in text
    assert "quartermain" not in html
    assert "classes of fewer than 11 patients, 2 here" in text
    assert "What becomes of each class" in text


def test_the_interval_of_fewer_than_eleven_patients_is_left_out():
    few = {task: take(part, np.arange(150) < 10) for task, part in predict().items()}
    found = analyse(few)
    assert found["held_out"]["kind"]["accuracy"]["value"] is not None
    ends = {
        score[end]
        for scores in found["held_out"].values()
        for score in scores.values()
        for end in ("low", "high")
    }
    assert ends == {None}
    text = visible(page_of(found))
    assert "Fewer than 11 patients were tested" in text
    assert "no interval" in text


# ---- every number on the page stands in metrics.json

PROSE = {"0.1", "0.5", "0", "1", "11", "30", "95", "100"}
"""Numbers of sentences: levels, chance, and how intervals are explained."""


def roundings(node):
    """Yield how a page may write each number of metrics.json."""
    if isinstance(node, dict | list):
        for part in node.values() if isinstance(node, dict) else node:
            yield from roundings(part)
    elif isinstance(node, int | float):
        yield from (f"{abs(node):.{digits}f}" for digits in range(5))
        yield from (f"{abs(100 * node):.{digits}f}" for digits in range(2))
        yield f"{abs(node):.3g}"


def strange_numbers(html, metrics):
    """Return the numbers of a page's text that metrics.json lacks."""
    text = re.sub(
        r"<svg.*?</svg>|<section[^>]*>\s*<h2[^>]*>(Glossary|Data).*?</section>", " ", html
    )
    found = re.findall(r"(?<![\w.])\d+(?:,\d{3})*(?:\.\d+)?", visible(text))
    return {number.replace(",", "") for number in found} - set(roundings(metrics)) - PROSE


@pytest.mark.parametrize("folds", [1, 3])
def test_every_number_on_the_page_stands_in_the_metrics(folds):
    found = make(folds=folds)
    html = page_of(found).replace("\n", " ")
    counts = {str(len(found["folds"]))} if folds > 1 else set()
    headings = {str(number) for number in range(folds + 1)}
    assert strange_numbers(html, found) - counts - headings <= {"2"}
    altered = html.replace("0.", "7.")
    assert strange_numbers(altered, found) - PROSE


def test_values_have_no_calibration_on_the_page_nor_on_the_card():
    days = replace(predict()["rare"], targets=np.arange(150, dtype=np.float32)[:, None])
    days = replace(days, predicted=np.repeat(days.targets, 3, axis=1))
    tasks = {"days": Regression(label="days")}
    metrics = analyse({"days": days}, tasks)
    del metrics["training"]  # that of another task
    assert metrics["calibrated"]["held_out"] == metrics["held_out"]
    assert "calibration" not in metrics
    assert "alibrat" not in visible(page_of(metrics, tasks))
    section = ANALYSES["calibrated"].section(
        metrics["calibrated"], Page(tasks=tasks, metrics=metrics)
    )
    assert section.title == "Scores"


def test_a_meaning_without_a_full_stop_does_not_run_on():
    class Days(Regression):
        metrics = (replace(regression.mae, meaning="How far off it is  "),)

    days = predict()["rare"]
    days = replace(days, predicted=np.repeat(days.targets, 3, axis=1))
    tasks = {"days": Days(label="days")}
    metrics = analyse({"days": days}, tasks)
    del metrics["training"]  # that of another task
    said = visible(page_of(metrics, tasks))
    assert "How far off it is. The range behind it" in said
