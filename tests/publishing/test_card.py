"""The card of made-up facts: metadata that the Hub reads, tables that are whole, and nothing small or open hidden."""

import re
from dataclasses import replace

import pytest
from huggingface_hub import ModelCard
from markdown_it import MarkdownIt

from clintune.core.text import visible
from clintune.evaluation.intervals import Interval
from clintune.publishing.card import write_card
from clintune.publishing.card_answers import QUESTIONS, Answers
from clintune.publishing.card_facts import Facts
from clintune.publishing.cohort_table import CountRow
from clintune.publishing.energy import Compute
from clintune.publishing.operating_points import OperatingPoint
from clintune.tasks.binary import Binary
from clintune.tasks.calibration import Calibration
from clintune.tasks.multiclass import Multiclass
from clintune.tasks.questions import one_of, yes_or_no
from hostile_names import NAMES, Alive, hidden

ANSWERS = Answers(
    given={name: f"about {name}" for name in QUESTIONS}
    | {"license": "mit", "grid_intensity": "100"}
)


def interval(value, subjects=200):
    return Interval(
        value=value,
        low=value - 0.1,
        high=value + 0.1,
        n_subjects=subjects,
        n_samples=subjects,
        n_positive=60,
    )


POINT = OperatingPoint(
    aim="Youden",
    threshold=0.25,
    scores={"sensitivity": interval(0.8), "specificity": interval(0.7)},
)
TASKS = {"icu": Binary(label="icu"), "ward": Multiclass(label="ward", classes=["a", "b|c"])}
FACTS = Facts(
    name="wards",
    fold=None,
    num_members=3,
    tasks=TASKS,
    modalities={"notes": "Notes"},
    weights={
        "backbone": {"source": "org/base", "revision": "abc123", "sha256": "0" * 64},
        "notes": {"source": "folder", "revision": None, "sha256": "1" * 64},
    },
    adapter="lora",
    num_held_out=200,
    cohorts={"site|A": [CountRow("subjects", ["500", "<11", "11 or more"])]},
    scores={
        "icu": {
            m.name: interval(0.8 if m.name == "auroc" else float("nan"))
            for m in TASKS["icu"].metrics
        },
        "ward": {
            m.name: interval(0.7 if m.name == "auroc" else float("nan"))
            for m in TASKS["ward"].metrics
        },
        "mean": {"auroc": interval(0.75)},
    },
    groups={
        "sex": {
            "F|": {"icu": {"auroc": interval(0.81)}},
            "M": {"icu": {"auroc": interval(0.1234, subjects=5)}},
        }
    },
    calibrations={
        "icu": Calibration.identity(
            yes_or_no([""]), reason="fewer than 20 tuning samples are labelled yes"
        ),
        "ward": Calibration.identity(one_of("ab"), reason="too few"),
    },
    calibrated={
        "icu": {
            "before": {"brier": 0.2, "ece": 0.1},
            "after": {"brier": 0.15, "ece": None},
            "abstained": 0.25,
            "error": None,
        },
        "ward": {"before": {}, "after": {}, "abstained": None, "error": None},
    },
    operating_points={"icu": [POINT]},
    membership=interval(0.9),
    compute=Compute(device="NVIDIA H100", processes=8, nodes=2, hours=1.5, kwh=2.0),
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


def test_the_hub_reads_base_models_by_their_ids_the_task_and_every_defined_score():
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
    assert len(tables) == 7
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
    assert "| sex | group with fewer than 11 |" in text
    assert "| sex | M |" not in text
    assert not re.search(r"\bnan\b", text)


@pytest.mark.parametrize(("held_out", "said"), [(200, "200"), (203, "nearly all"), (260, "200")])
def test_subjects_without_a_label_cannot_be_worked_out_from_those_with_one(held_out, said):
    text = write_card(replace(FACTS, num_held_out=held_out), ANSWERS, draft=False)
    assert re.search(rf"^\| icu \| AUROC \| .* \| {said} \| 60 \|$", text, re.M)


@pytest.mark.parametrize(("grouped", "said"), [(200, "200"), (197, "11 or more"), (150, "150")])
def test_subjects_without_a_group_cannot_be_worked_out_from_those_with_one(grouped, said):
    facts = replace(
        FACTS, groups={"sex": {"F": {"icu": {"auroc": interval(0.8, subjects=grouped)}}}}
    )
    assert f"| sex | F | icu | {said} |" in write_card(facts, ANSWERS, draft=False)


def test_unknown_energy_is_open():
    facts = replace(FACTS, compute=replace(FACTS.compute, kwh=None))
    text = write_card(facts, ANSWERS, draft=False)
    assert "Energy: **open**" in text
    assert "g CO2e." not in text


def renamed(name):
    """Return facts in which everything that a person names has this name."""
    return replace(
        FACTS,
        name=name,
        tasks={name: Multiclass(label=name, classes=[name, f"{name} 2"])},
        modalities={name: "Notes"},
        weights={name: FACTS.weights["notes"]},
        cohorts={name: [CountRow(f"{name} = {name}", ["500", "<11", "11 or more"])]},
        scores={name: FACTS.scores["ward"]},
        groups={name: {name: {name: {"auroc": interval(0.81)}}}},
        calibrations={name: FACTS.calibrations["ward"]},
        calibrated={name: FACTS.calibrated["icu"]},
        operating_points={name: [POINT]},
        provenance=FACTS.provenance | {"data_sha256": {name: "3" * 64}},
    )


@pytest.mark.parametrize("name", NAMES)
def test_no_name_comes_alive_on_the_card_and_its_tables_stay_whole(name):
    reader = MarkdownIt("commonmark", {"html": True}).enable("table").enable("strikethrough")
    text, plain = (
        write_card(facts, ANSWERS, draft=False) for facts in (renamed(name), renamed("ward"))
    )
    assert not hidden(text)
    for cut in (
        0,
        2,
    ):  # as a reader sees it that takes the metadata for Markdown, and as one does that knows of them
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
