"""The report: whole and self-contained, the same for the same input, and silent about single patients."""

import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from datetime import datetime
from html.parser import HTMLParser

import numpy as np
import polars as pl
import pytest

from clintune.contracts import Predictions
from clintune.evaluation.ablations import ablate
from clintune.evaluation.intervals import fold_values, intervals, to_json
from clintune.evaluation.report import render_report, write_report
from clintune.evaluation.report_content import ReportContent
from clintune.evaluation.scored import of_task
from clintune.evaluation.subgroups import by_group, by_view
from clintune.evaluation.subjects import take
from clintune.tasks.binary import Binary
from clintune.tasks.multiclass import Multiclass
from clintune.tasks.multilabel import Multilabel
from hostile_names import NAMES, Alive, hidden

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
        risks = rng.random((n, widths[name])) + 0.5 * (
            target if name != "kind" else np.eye(3)[kind]
        )
        result[name] = Predictions(
            cohort=np.full(n, "here"),
            subject_id=FIRST_ID + np.arange(n),
            prediction_time=[datetime(2031, 7, 5, 3, 1)] * n,
            fold=np.arange(n) % folds,
            targets=target.astype(np.float32),
            predicted=(risks / (risks.sum(1, keepdims=True) if name == "kind" else 2)).astype(
                np.float32
            ),
        )
    return result


def make(**other):
    predictions = predict(**other)
    scored = {name: of_task(part, TASKS[name]) for name, part in predictions.items()}
    table = to_json(intervals(scored, replicates=30))
    sites = pl.DataFrame(
        {
            "subject_id": FIRST_ID + np.arange(150),
            "site": ["large"] * 83 + ["mid"] * 63 + ["tiny"] * 4,
        }
    )
    groups = by_group(scored, {"here": sites}, replicates=30)
    ablations = ablate(lambda kept: predictions, ["image", "notes", "labs"], TASKS, replicates=30)
    metrics = {"held_out": table, "tuning": table}
    if other.get("folds", 1) > 1:
        metrics["folds"] = [{"held_out": values} for values in fold_values(scored)]
    return ReportContent(
        name="first_try",
        metrics=metrics | {"ablations": {}, "groups": {}},
        predictions=predictions,
        tasks=TASKS,
        history=[
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
        ],
        ablations={name: ablation.to_json() for name, ablation in ablations.items()},
        groups={
            column: {group: to_json(s) for group, s in by_name.items()}
            for column, by_name in groups.items()
        },
        outputs={
            name: to_json(by_view(predictions[name], TASKS[name], replicates=30))
            for name in ("pheno", "kind")
        },
        provenance={
            "clintune": "0.1.0",
            "cohorts": {"here": {"files": {"data/0.parquet": "ab" * 32}}},
        },
        notes=["Some items could not be read."],
    )


@pytest.fixture(scope="module")
def content():
    return make()


@pytest.fixture(scope="module")
def page(content):
    return render_report(content)


def visible(html):
    """Return the text of a page without styles, tags and the figures' coordinates."""
    return re.sub(r"<[^>]*>", " ", re.sub(r"<(style|title)\b.*?</\1>", " ", html, flags=re.DOTALL))


class Balance(HTMLParser):
    """Collects tags that are closed in the wrong order, ids that stand twice and references that lead nowhere."""

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


def test_the_page_is_well_formed_with_unique_ids_and_references_that_exist(page):
    balance = Balance()
    balance.feed(page)
    assert not balance.wrong
    assert not balance.open
    assert len(balance.ids) == len(set(balance.ids))
    assert balance.references <= set(balance.ids)


def test_the_page_needs_nothing_from_elsewhere(page):
    assert not re.search(r"""(src|href|srcset|action)\s*=\s*["'](?!#)""", page)
    assert not re.search(r"@import|url\((?!#)|<script|<link|<iframe|<img", page)


def test_equal_content_gives_an_equal_file(content, page, tmp_path):
    write_report(tmp_path / "report.html", make())
    assert (tmp_path / "report.html").read_text() == page


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
    assert rows == [("large", "83"), ("mid", "11 or more"), ("group with fewer than 11", "&lt;11")]
    tiny = page[page.index('<th scope="row">group with fewer than 11</th>') :].split("</tr>")[0]
    assert tiny.count("too few") == len(TASKS)


def test_a_task_with_few_positives_or_negatives_gets_words_instead_of_curves(page):
    section = re.search(r"<h2[^>]*>rare</h2>.*?</section>", page, re.DOTALL).group()
    assert "<svg" not in section
    assert "No curves" in section
    nearly_all = render_report(make(num_positive_rare=145))
    section = re.search(r"<h2[^>]*>rare</h2>.*?</section>", nearly_all, re.DOTALL).group()
    assert "<svg" not in section
    assert "145" not in visible(nearly_all)


def test_the_summary_gives_each_tasks_score_with_its_interval(content, page):
    summary = visible(page.split('id="scores"')[0])
    for metrics in content.metrics["held_out"].values():
        score = metrics["auroc"]
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


def test_folds_are_tabulated_one_by_one_or_as_a_range_where_there_are_many():
    few, many = (visible(render_report(make(folds=folds))) for folds in (3, 12))
    assert "trained and tested 3 times" in few
    assert "Median" not in few
    assert "trained and tested 12 times" in many
    assert "Median" in many


def test_a_run_with_one_undefined_task_and_nothing_else_still_has_a_report():
    part = predict()["icu"]
    part = replace(part, targets=np.zeros_like(part.targets))
    scored = {"icu": of_task(part, TASKS["icu"])}
    content = ReportContent(
        name="bare",
        metrics={"held_out": to_json(intervals(scored, replicates=5))},
        predictions={"icu": part},
        tasks={"icu": TASKS["icu"]},
    )
    text = visible(render_report(content))
    assert "Not defined" in text
    assert "No curves" in text
    assert "Groups" not in text


def test_only_what_was_tuned_speaks_of_tuning(content, page):
    untuned = {split: scores for split, scores in content.metrics.items() if split != "tuning"}
    assert "tuning patients take no part in learning" in visible(page)
    assert "tuning patients take no part" not in visible(
        render_report(replace(content, metrics=untuned))
    )


def renamed(content, name):
    """Return a report's content in which everything that a person names has this name."""
    tasks = {task: f"{name} {task}" for task in TASKS}

    def of_tasks(scores):
        return {tasks.get(task, task): values for task, values in scores.items()}

    metrics = content.metrics | {
        split: of_tasks(content.metrics[split]) for split in ("held_out", "tuning")
    }
    return replace(
        content,
        name=name,
        metrics=metrics,
        predictions=of_tasks(content.predictions),
        tasks={
            tasks["icu"]: Binary(label=name),
            tasks["rare"]: Binary(label=name),
            tasks["pheno"]: Multilabel(label=name, phenotypes=[f"{name} {i}" for i in range(2)]),
            tasks["kind"]: Multiclass(label=name, classes=[f"{name} {i}" for i in range(3)]),
        },
        history=[
            {key.replace("icu", tasks["icu"]): value for key, value in record.items()}
            for record in content.history
        ],
        ablations={
            variant.replace("notes", name): {
                part: of_tasks(scores) for part, scores in ablation.items()
            }
            for variant, ablation in content.ablations.items()
        },
        groups={
            name: {
                f"{name} {i}": of_tasks(s) for i, s in enumerate(content.groups["site"].values())
            }
        },
        outputs={
            tasks[task]: {f"{name} {i}": s for i, s in enumerate(scores.values())}
            for task, scores in content.outputs.items()
        },
        provenance={"command": ["clintune", name], "cohorts": {name: {"files": {name: "ab"}}}},
        notes=[f"{name}: many samples have none"],
    )


@pytest.mark.parametrize(
    "name", [" ".join(NAMES), "\n".join(reversed(NAMES))], ids=["one_line", "lines"]
)
def test_no_name_comes_alive_on_the_page(content, page, name):
    html = render_report(renamed(content, name))
    plain, found = Alive(page), Alive(html)
    assert set(found.tags) <= set(plain.tags)
    assert found.tags.count("svg") == plain.tags.count("svg")
    assert not found.handlers
    assert found.links == plain.links
    assert not hidden(html)
    assert "49" not in [text.strip() for text in found.texts]
    for figure in re.findall(r"<svg role.*?</svg>", html, flags=re.DOTALL):
        ET.fromstring(figure)


def test_a_class_of_few_patients_is_not_named_and_the_average_says_over_how_many_it_is(content):
    kind = content.predictions["kind"]
    targets = np.where(np.arange(150)[:, None] < 8, 2, np.minimum(kind.targets, 1)).astype(
        np.float32
    )
    task = Multiclass(label="kind", classes=["viral", "bacterial", "quartermain", "absent"])
    probabilities = np.column_stack([kind.predicted, np.zeros(150, np.float32)])
    kind = replace(kind, targets=targets, predicted=probabilities)
    html = render_report(
        replace(
            content,
            predictions={**content.predictions, "kind": kind},
            tasks={**content.tasks, "kind": task},
            outputs={**content.outputs, "kind": to_json(by_view(kind, task, replicates=5))},
        )
    )
    text = " ".join(visible(html).split())
    assert (
        "The average over 3 of 4 classes, each told from all others. The others cannot be scored"
        in text
    )
    assert "1 of them has fewer than 11 patients" in text
    assert "quartermain" not in html
    assert "2 classes of fewer than 11 patients are not shown" in text
    assert "What becomes of each class" in text


def test_the_interval_of_fewer_than_eleven_patients_is_left_out(content):
    few = {task: take(part, np.arange(150) < 10) for task, part in content.predictions.items()}
    table = to_json(
        intervals({n: of_task(part, TASKS[n]) for n, part in few.items()}, replicates=20)
    )
    assert table["kind"]["accuracy"]["value"] is not None
    assert {
        score[end]
        for scores in table.values()
        for score in scores.values()
        for end in ("low", "high")
    } == {None}
    text = visible(
        render_report(replace(content, metrics={"held_out": table}, predictions=few, groups={}))
    )
    assert "Fewer than 11 patients were tested" in text
    assert "no interval" in text
