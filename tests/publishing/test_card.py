"""The card of made-up facts: metadata for the Hub, whole tables, nothing small or open hidden."""

import json
import re
from dataclasses import replace

import pytest
from huggingface_hub import ModelCard
from markdown_it import MarkdownIt

from clintune.core.text import visible
from clintune.evaluation.analysis import load_analyses
from clintune.evaluation.page import Page
from clintune.publishing.card import write_card
from clintune.publishing.card_answers import QUESTIONS, Answers
from clintune.publishing.card_facts import Facts
from clintune.tasks.binary import Binary
from clintune.tasks.multiclass import Multiclass
from helpers.hostile_names import NAMES, Alive, hidden

ANSWERS = Answers(
    given={name: f"about {name}" for name in QUESTIONS}
    | {"license": "mit", "grid_intensity": "100"}
)


def interval(value, subjects=200):
    return {
        "value": value,
        "low": None if value is None else round(value - 0.1, 3),
        "high": None if value is None else round(value + 0.1, 3),
        "n_subjects": subjects,
        "n_samples": subjects,
        "n_positive": 60,
    }


POINT = {
    "aim": "Youden",
    "threshold": 0.25,
    "scores": {"sensitivity": interval(0.8), "specificity": interval(0.7)},
}
TASKS = {"icu": Binary(label="icu"), "ward": Multiclass(label="ward", classes=["a", "b|c"])}


def scores_of(task, value):
    return {m.name: interval(value if m.name == "auroc" else None) for m in TASKS[task].metrics}


CALIBRATED = {"before": {"brier": 0.2, "ece": 0.1}, "after": {"brier": 0.15, "ece": None}}
CALIBRATED |= {"abstained": 0.25, "error": None, "num_samples": 200}
FEW = "fewer than 20 tuning samples are labelled yes"
METRICS = {
    "held_out": {"icu": scores_of("icu", 0.8), "ward": scores_of("ward", 0.7)},
    "calibrated": {
        "held_out": {
            "icu": scores_of("icu", 0.8),
            "ward": scores_of("ward", 0.7),
            "mean": {"auroc": interval(0.75)},
        },
        "groups": {
            "sex": {
                "F|": {"icu": {"auroc": interval(0.81)}},
                "M": {"icu": {"auroc": interval(0.1234, subjects=5)}},
            }
        },
    },
    "calibration": {
        "icu": CALIBRATED | {"left_alone": {"icu": FEW}},
        "ward": CALIBRATED | {"before": {}, "after": {}, "left_alone": {"ward": "too few"}},
    },
    "operating_points": {"icu": [POINT]},
    "membership": interval(0.9),
    "cohort": {
        "site|A": {
            "subjects": [500, 5, 200],
            "samples": [500, 5, 200],
            "labels": {"icu": {"no": [300, 3, 140], "yes": [200, 2, 60]}},
        }
    },
    "compute": {
        "device": "NVIDIA H100",
        "processes": 8,
        "nodes": 2,
        "hours": 1.5,
        "kwh": 2.0,
    },
}
NAMED = ["calibration", "calibrated", "operating_points", "membership", "cohort", "compute"]
FACTS = Facts(
    name="wards",
    fold=None,
    num_members=3,
    page=Page(tasks=TASKS, metrics=METRICS),
    analyses=load_analyses(NAMED),
    modalities={"notes": "Notes"},
    weights={
        "backbone": {"source": "org/base", "revision": "abc123", "sha256": "0" * 64},
        "notes": {"source": "folder", "revision": None, "sha256": "1" * 64},
    },
    adapter="lora",
    cohorts=["site|A"],
    provenance={
        "clintune": "1.0",
        "commit": None,
        "created": "2026-11-27T10:00:00+00:00",
        "config_sha256": "2" * 64,
        "python": "3.11",
        "packages": {"torch": "2"},
        "data_sha256": {"site|A": "3" * 64},
    },
)


def changed(tasks=TASKS, **parts):
    """Return facts of which some parts of the metrics are others."""
    return replace(FACTS, page=Page(tasks=tasks, metrics=METRICS | parts))


def test_the_hub_reads_base_models_the_task_and_every_score():
    data = ModelCard(write_card(FACTS, ANSWERS, draft=False)).data
    assert data.base_model == ["org/base"]
    assert data.pipeline_tag == "text-classification"
    assert data.license == "mit"
    assert {"clinical", "notes", "lora"} <= set(data.tags)
    assert {
        (result.task_name, result.metric_type, result.metric_value) for result in data.eval_results
    } == {
        ("icu", "roc_auc", 0.8),
        ("ward", "roc_auc", 0.7),
    }


def test_no_pipeline_is_claimed_for_several_modalities():
    facts = replace(FACTS, modalities={"notes": "Notes", "imaging": "Imaging"})
    assert ModelCard(write_card(facts, ANSWERS, draft=False)).data.pipeline_tag is None


def test_every_row_of_a_table_has_the_cells_of_its_head():
    text = write_card(FACTS, ANSWERS, draft=False)
    tables = re.findall(r"(?:^\|.*\n)+", text, re.M)
    assert len(tables) == 10
    for table in tables:
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(widths) == 1, table


@pytest.mark.parametrize("name", QUESTIONS)
def test_each_answer_stands_on_the_card_or_is_shown_as_open(name):
    assert ANSWERS[name] in write_card(FACTS, ANSWERS, draft=False)
    missing = Answers(given={key: value for key, value in ANSWERS.given.items() if key != name})
    text = write_card(FACTS, missing, draft=True)
    assert text.count("**open**") == 1
    assert f"Open: {name}." in text


def test_the_card_says_what_a_reader_must_not_miss():
    text = write_card(FACTS, ANSWERS, draft=False, num_canaries=4)

    for said in (
        "Who was in the training data can be told better than by chance.",
        "and for 4 canary strings",
        "average of 3 models",
        "icu: left as it is, and never abstains: fewer than 20 tuning samples are labelled yes.",
        "ward: left as it is, and never abstains: too few.",
        "1.5 hours in 8 processes on 2 nodes, device NVIDIA H100",
        "about 2 kWh",
        "so about 200 g CO2e",
        "org/base, revision abc123, sha256 " + "0" * 64,
        "27 November 2026",
    ):
        assert said in text
    assert "0.123" not in text
    assert "| group with fewer than 11 | <11 |" in text
    assert "| M |" not in text
    assert not re.search(r"\bnan\b", text)


@pytest.mark.parametrize(("held_out", "said"), [(200, "200"), (203, "nearly all"), (260, "200")])
def test_subjects_without_a_label_cannot_be_worked_out(held_out, said):
    cohort = METRICS["cohort"]["site|A"] | {"subjects": [500, 50, held_out]}
    text = write_card(changed(cohort={"site|A": cohort}), ANSWERS, draft=False)
    assert re.search(rf"^\| icu \| {said} \| 200 \| 60 \| 0.800", text, re.M)


@pytest.mark.parametrize(("grouped", "said"), [(200, "200"), (197, "11 or more"), (150, "150")])
def test_subjects_without_a_group_cannot_be_worked_out(grouped, said):
    groups = {"sex": {"F": {"icu": {"auroc": interval(0.8, subjects=grouped)}}}}
    facts = changed(calibrated=METRICS["calibrated"] | {"groups": groups})
    assert f"| F | {said} | 0.800" in write_card(facts, ANSWERS, draft=False)


def test_unknown_energy_is_open():
    facts = changed(compute=METRICS["compute"] | {"kwh": None})
    text = write_card(facts, ANSWERS, draft=False)
    assert "Energy: open" in text
    assert "g CO2e." not in text


def test_every_number_of_a_table_stands_in_the_metrics():
    text = write_card(FACTS, ANSWERS, draft=False).partition("## Provenance")[0]
    cells = [cell for line in re.findall(r"^\|.*\|$", text, re.M) for cell in line.split("|")]
    found = {number for cell in cells for number in re.findall(r"\d+\.\d+", cell)}
    known = set(re.findall(r"\d+\.\d+", json.dumps(METRICS)))
    assert {f"{float(number):.3f}" for number in found} <= {f"{float(n):.3f}" for n in known} | {
        "25.000"  # the share abstained, in percent
    }


def renamed(name):
    """Return facts in which everything that a person names has this name."""
    scores = METRICS["held_out"]["ward"]
    groups = {name: {name: {name: {"auroc": interval(0.81)}}}}
    counts = {"subjects": [500, 5, 200], "samples": [500, 5, 200]}
    facts = changed(
        tasks={name: Multiclass(label=name, classes=[name, f"{name} 2"])},
        held_out={name: scores},
        calibrated={"held_out": {name: scores}, "groups": groups},
        calibration={name: METRICS["calibration"]["icu"] | {"left_alone": {name: "too few"}}},
        operating_points={name: [POINT]},
        cohort={name: counts | {"labels": {name: {name: [500, 5, 200]}}}},
    )
    return replace(
        facts,
        name=name,
        modalities={name: "Notes"},
        weights={name: FACTS.weights["notes"]},
        cohorts=[name],
        provenance=FACTS.provenance | {"data_sha256": {name: "3" * 64}},
    )


@pytest.mark.parametrize("name", NAMES)
def test_no_name_comes_alive_on_the_card(name):
    reader = MarkdownIt("commonmark", {"html": True}).enable("table").enable("strikethrough")
    text, plain = (
        write_card(facts, ANSWERS, draft=False) for facts in (renamed(name), renamed("ward"))
    )
    assert not hidden(text)

    # One reader takes the metadata for Markdown, the other knows what they are.
    for cut in (0, 2):
        found, expected = (
            Alive(reader.render(card.split("---", cut)[-1])) for card in (text, plain)
        )
        assert set(found.tags) <= set(expected.tags)
        counted = ("table", "tr", "td", "th", "h1", "h2")
        assert [found.tags.count(tag) for tag in counted] == [
            expected.tags.count(tag) for tag in counted
        ]
        assert not found.handlers
        assert found.links == expected.links


@pytest.mark.parametrize("name", NAMES)
def test_metadata_keep_every_name_that_shows_itself(name):
    data = ModelCard(write_card(renamed(name), ANSWERS, draft=False)).data
    assert data.eval_results[0].task_name == visible(name)
    assert data.license == "mit"
