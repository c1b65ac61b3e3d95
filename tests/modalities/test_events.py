"""Events as tokens: scores, rare codes, budgets, courses and summary columns.

Order, trend and number are learnt.
"""

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from clintune.contracts import Item, RowColumns
from clintune.core.errors import ConfigError
from clintune.core.seeding import seeded
from clintune.evaluation.predictions import read_predictions
from clintune.modalities.event_summary import PER_CODE
from clintune.modalities.event_texts import EventTexts
from clintune.modalities.events import Events
from clintune.modalities.rows import to_columns
from clintune.tasks.binary import Binary
from conftest import train

CODES = ["LAB//NA", "LAB//K", "DRUG//A"]


def item(code, value=None, hours=0.0, subject=0):
    return Item(hours=hours, code=code, where="rows", value=value, subject=subject)


TRAINING = [
    *(item("LAB//NA", 140 + 5 * norm.ppf((n + 0.5) / 400), 1.0, n) for n in range(400)),
    *(item("LAB//K", None, 2.0, n) for n in range(20)),
    *(item("DRUG//A", None, 3.0, n) for n in range(20)),
    *(item("DRUG//RARE//X", 7.0, 3.0, n) for n in range(3)),
]


def build(**settings):
    events = Events(**{"width": 16, **settings})
    with seeded(0):
        events.build(events.reader.fit_items(TRAINING))
    return events.eval()


def pieces_of(events, *samples):
    items = [part for sample in samples for part in sorted(sample, key=lambda one: -one.hours)]
    codes = sorted({part.code for part in items})
    owner = [number for number, sample in enumerate(samples) for _ in sample]
    return events.reader.numbered(codes).preprocess_rows(to_columns(items, codes, owner))


def test_rows_with_a_time_and_without_text_are_claimed():
    rows = [
        (None, "A", None),
        (1, "A", None),
        (1, "MEDS_BIRTH", None),
        (1, "NOTE", "text"),
        (1, "LAB//X", None),
    ]
    table = pl.DataFrame(rows, schema=["time", "code", "text_value"], orient="row")
    assert table.select(Events().reader.row_filter()).to_series().to_list() == [
        False,
        True,
        False,
        False,
        True,
    ]
    assert table.select(Events(codes=["LAB//"]).reader.row_filter()).to_series().sum() == 1


def test_values_are_normal_scores_and_wild_ones_are_clipped():
    rows = [
        item("LAB//NA", value)
        for value in (140.0, 145.0, 135.0, 1e9, -1e9, float("nan"), float("inf"), None)
    ]
    facts = pieces_of(build(), rows).tensors["facts"]
    assert facts[:5, 0].tolist() == pytest.approx([0, 1, -1, 4, -4], abs=0.05)
    assert facts[:, 1].tolist() == [1, 1, 1, 1, 1, 0, 0, 0]


def test_rare_codes_are_their_longest_known_beginning():
    events = build(min_subjects=11)
    assert events.reader.names == ["DRUG//A", "LAB//K", "LAB//NA", "DRUG", "LAB"]
    codes = ["DRUG//RARE//X", "DRUG//NEW", "LAB//NEW//mg", "ELSE//X", "LAB//NA"]
    found = pieces_of(events, *([item(code, 7.0)] for code in codes)).tensors
    named = [
        0 if number == 0 else events.reader.names[number - 1] for number in found["code"].tolist()
    ]
    assert named == ["DRUG", "DRUG", "LAB", 0, "LAB//NA"]
    assert found["facts"][:, 1].tolist() == [0, 0, 0, 0, 1]
    assert events.reader.remarks(events.reader.fit_items(TRAINING)) == [
        "1 of 4 codes have fewer than 11 training subjects and are read as their beginnings, "
        "without values"
    ]


def test_an_event_knows_the_one_of_its_code_before_it():
    rows = [item("LAB//NA", 135.0, 9.0), item("DRUG//A", None, 5.0), item("LAB//NA", 145.0, 2.0)]
    facts = pieces_of(build(), rows, rows[:1]).tensors["facts"]
    assert facts[2, 2:].tolist() == pytest.approx([2.0, 1.0, np.log1p(7), np.log(3)], abs=0.1)
    assert facts[[0, 1, 3], 2:5].eq(0).all()


def test_what_is_older_than_the_budget_is_one_token_and_counted():
    events = build(max_pieces=3)
    rows = [item("LAB//NA", 135.0 + n, 20.0 - n) for n in range(8)] + [item("DRUG//A", None, 30.0)]
    pieces = pieces_of(events, rows, rows[:2])
    tensors = pieces.tensors
    assert tensors["older"].tolist() == [True] * 2 + [False] * 5
    assert sorted(tensors["count"][:2].tolist()) == [1, 5]
    tokens = events(pieces, 2)
    assert torch.bincount(tokens.owner).tolist() == [4, 2]
    assert events.num_tokens(np.array([9, 2])).tolist() == [4, 2]
    assert tokens.hours[:4].tolist() == sorted(tokens.hours[:4].tolist(), reverse=True)


def test_bins_put_events_of_a_stretch_of_time_together():
    events = build(bin_hours=2.0, max_bins=3, max_pieces=100)
    rows = [item("LAB//NA", 140.0, hours) for hours in (0.5, 1.5, 2.5, 5.9, 6.1, 50.0)]
    tokens = events(pieces_of(events, rows), 1)
    assert tokens.hours.tolist() == pytest.approx([6.1, 5.9, 2.5, 0.5])
    assert events.num_tokens(np.array([9000])).tolist() == [4]


SAMPLES = st.lists(
    st.lists(
        st.tuples(
            st.sampled_from([*CODES, "NEW"]), st.none() | st.floats(100, 180), st.integers(0, 40)
        ),
        min_size=1,
        max_size=9,
    ),
    min_size=1,
    max_size=4,
)


@settings(deadline=None, max_examples=30)
@example([[("LAB//NA", None, 15)]] * 2, "none", 3.0)  # all of both beyond the last bin
@given(SAMPLES, st.sampled_from(["none", "gru", "transformer"]), st.sampled_from([None, 3.0]))
def test_a_samples_tokens_and_columns_depend_on_it_alone(samples, course, bin_hours):
    events = build(course=course, bin_hours=bin_hours, max_bins=4, max_pieces=4, width=8)
    samples = [[item(*row) for row in sample] for sample in samples]
    with torch.no_grad():
        pieces = pieces_of(events, *samples)
        together, columns = events(pieces, len(samples)), events.facts(pieces, len(samples))
        for owner, sample in enumerate(samples):
            alone = pieces_of(events, sample)
            mine = together.embeddings[together.owner == owner]
            torch.testing.assert_close(mine, events(alone, 1).embeddings, atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(
                columns[owner], events.facts(alone, 1)[0], atol=1e-6, rtol=1e-4
            )


@settings(deadline=None, max_examples=50)
@given(SAMPLES)
def test_summary_columns_do_not_depend_on_the_budget(samples):
    samples = [[item(*row) for row in sample] for sample in samples]
    small, large = build(max_pieces=2), build(max_pieces=100)
    few, all_of = (
        events.facts(pieces_of(events, *samples), len(samples)) for events in (small, large)
    )
    torch.testing.assert_close(few, all_of, atol=1e-5, rtol=1e-4)


def test_summary_columns_tell_what_they_are_named_for():
    events = build()
    rows = [
        item("LAB//NA", value, hours)
        for value, hours in ((145, 9.0), (135, 6.0), (150, 4.0), (140, 1.0))
    ]
    found = events.facts(pieces_of(events, rows), 1) * events.num_facts**0.5
    columns = found.view(len(events.reader.known), len(PER_CODE))[
        list(events.reader.known).index("LAB//NA")
    ]
    expected = {
        "first": 1,
        "last": 0,
        "least": -1,
        "greatest": 2,
        "mean": 0.5,
        "measured": 1,
        "present": 1,
    }
    told = dict(zip(PER_CODE, columns.tolist(), strict=True))
    assert {name: told[name] for name in expected} == pytest.approx(expected, abs=0.1)
    assert events.probe_width == events.num_facts == len(PER_CODE) * 3


def test_events_without_any_value_are_read_and_trained():
    events = Events(min_subjects=1, width=8, course="gru")
    events.build(events.reader.fit_items([item("A", None, 1.0), item("B//C", None, 2.0)]))
    tokens = events(pieces_of(events, [item("A"), item("B//C")]), 1)
    tokens.embeddings.square().sum().backward()
    assert [name for name, part in events.named_parameters() if part.grad is None] == []
    assert events.facts(pieces_of(events, [item("NEW")]), 1).eq(0).all()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"max_pieces": 5000}, "give 4096 or less, or bin_hours"),
        ({"max_pieces": 0}, "give 1 or more"),
        ({"bin_hours": 0.0}, "give hours above 0"),
        ({"bin_hours": 1.0, "max_bins": 0}, "give 1 to 4096"),
        ({"course": "lstm"}, "use none, gru or transformer"),
        ({"depth": 0}, "give 1 layer or more"),
        ({"min_subjects": 0}, "min_subjects is 0"),
    ],
)
def test_numbers_out_of_range_are_refused_in_one_line(settings, said):
    with pytest.raises(ConfigError, match=said) as raised:
        Events(**settings)
    assert "\n" not in str(raised.value)


def test_no_value_in_training_leaves_codes_alone():
    found = Events().reader.fit_items([item("A", float("nan"), 0.0, n) for n in range(20)])
    assert found["codes"]["A"]["knots"] == []


def test_a_reader_holds_no_more_than_it_is_given():
    events = build(max_pieces=5)
    rows = 4000
    draw = np.random.default_rng(0)
    columns = RowColumns(
        code=draw.integers(0, 2, rows).astype(np.int32),
        value=draw.normal(140, 5, rows).astype(np.float32),
        hours=np.sort(draw.uniform(0, 99, rows))[::-1],
        owner=np.zeros(rows, np.int64),
    )
    assert (
        len(events.reader.numbered(["LAB//NA", "LAB//K"]).preprocess_rows(columns).hours) == 5 + 2
    )


RECIPE = """
defaults:
  - base
  - modality: [events]
  - task@tasks.outcome: binary
  - override /backbone: tiny
  - _self_
cohorts: {{made: {{root: {root}}}}}
modalities: {{events: {{width: 32, course: {course}, max_pieces: 60}}}}
tasks: {{outcome: {{label: outcome}}}}
adapter: {{mode: full}}
model: {{readout: null}}
strategy: {{kind: single}}
trainer: {{precision: fp32, epochs: 10, batch_size: 32, micro_batch_size: 32, lr: 2.0e-3,
  head_lr: null}}
data: {{cache: {folder}/cache}}
runs: {folder}/runs
"""


@pytest.mark.parametrize(
    ("question", "course"), [("order", "gru"), ("trend", "none"), ("number", "transformer")]
)
def test_order_trend_and_number_are_learnt(question, course, tmp_path):
    from clintune.cli import main
    from clintune.cohort.generators.events import write_events

    write_events(tmp_path / "cohort", question, 1000)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE.format(root=tmp_path / "cohort", folder=tmp_path, course=course))
    run = train(recipe)
    assert main(["evaluate", str(run), "--bootstrap", "10", "--no-ablations"]) == 0
    found = read_predictions(run / "predictions/held_out", "outcome", Binary(label="outcome"))
    assert roc_auc_score(found.targets[:, 0], found.predicted[:, 0]) >= 0.95


def texts_of(*samples, **settings):
    modality = EventTexts(source="bundled:minilm", **settings)
    modality.build({})
    pieces = pieces_of(modality, *samples)
    ids = [pieces.tensors["ids"][pieces.owner == owner] for owner in range(len(samples))]
    return pieces, [modality.reader.tokenizer.decode(part) for part in ids]


def test_events_as_text_tell_time_code_and_value():
    rows = [
        item("LAB//GLUCOSE", 8.125, 3.52),
        item("DRUG//A", None, 0.0),
        item("LAB//NA", 1e-9, 240.0),
    ]
    pieces, said = texts_of(rows, rows[:1])
    plain = [text.replace(" ", "") for text in said]
    assert plain == [
        "10dbefore:lab//na1e-09;3.5hbefore:lab//glucose8.125;0hbefore:drug//a;",
        "3.5hbefore:lab//glucose8.125;",
    ]
    assert pieces.hours[pieces.owner == 1].tolist() == pytest.approx(
        [3.52] * int((pieces.owner == 1).sum())
    )


@settings(deadline=None, max_examples=12)
@given(SAMPLES, st.integers(20, 60))
def test_events_as_text_keep_the_newest_whole_within_budget(samples, budget):
    samples = [
        sorted((item(*row) for row in sample), key=lambda one: -one.hours) for sample in samples
    ]
    pieces, said = texts_of(*samples, max_pieces=budget)
    counts = torch.bincount(pieces.owner, minlength=len(samples))
    assert counts.max() <= budget
    for sample, kept in zip(samples, said, strict=True):
        assert texts_of(sample)[1][0].endswith(kept)
        assert kept.count(";") >= 1


def test_code_text_puts_codes_that_say_the_same_together():
    events = build(code_text=True)
    codes = ["LAB//SODIUM", "LABORATORY//SODIUM_BLOOD", "DRUG//HEPARIN"]
    text = pieces_of(events, *([item(code)] for code in codes)).tensors["text"]
    likeness = torch.nn.functional.cosine_similarity(text[0], text[1:])
    assert likeness[0] > 0.5 > likeness[1]
    tokens = events(
        pieces_of(events, *([item(code)] for code in ("ELSE//SODIUM", "ELSE//HEPARIN"))), 2
    ).embeddings
    assert not torch.allclose(tokens[0], tokens[1])
