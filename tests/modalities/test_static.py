import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clintune.contracts import Item
from clintune.core.errors import ConfigError
from clintune.modalities.base import collate_pieces
from clintune.modalities.rows import to_columns
from clintune.modalities.static import Static

YEAR = 24 * 365.25


def item(code, value=None, hours=0.0, subject=0):
    return Item(hours=hours, code=code, where="static.parquet row 0", value=value, subject=subject)


def build(items, min_subjects=1, **settings):
    static = Static(min_subjects=min_subjects, **settings)
    static.build(static.reader.fit_items(items))
    return static.eval()


def prepared(static, *items):
    return {
        name: tensor.tolist()
        for name, tensor in collate_pieces(
            [static.reader.preprocess_items([each], [0]) for each in items]
        ).items()
    }


def test_rows_without_time_birth_and_listed_codes_are_claimed():
    table = pl.DataFrame(
        {"code": ["SEX//F", "MEDS_BIRTH", "LAB//HR", "LAB//HR//2", "X"], "time": [None, 1, 1, 1, 1]}
    )
    row_filter = [
        table.select(Static(codes=codes).reader.row_filter()).to_series().to_list()
        for codes in (None, ["LAB//"], ["LAB//HR"])
    ]
    assert row_filter == [
        [True, True, *more, False] for more in ([False, False], [True, True], [True, False])
    ]


@given(
    st.lists(st.integers(-500, 500), min_size=1, max_size=30)
)  # of which none is far from the others
def test_statistics_are_mean_and_deviation_by_code(values):
    items = [*(item("A", value) for value in values), item("B"), item("A", float("nan"))]
    found = Static(min_subjects=1).reader.fit_items(items)["codes"]
    assert found["B"] == {"mean": None, "std": None}
    if len(set(values)) == 1:
        assert found["A"] == {"mean": None, "std": None}
    else:
        assert found["A"]["mean"] == pytest.approx(np.mean(values), rel=1e-6, abs=1e-6)
        assert found["A"]["std"] == pytest.approx(np.std(values), rel=1e-4)


def test_values_that_are_all_alike_leave_nothing_to_learn():
    flags = build([item("FLAG", 1.0), item("FLAG", 1.0), item("OTHER")])
    assert not [
        name for name, _ in flags.encoder.named_parameters() if "slope" in name or "present" in name
    ]
    assert prepared(flags, item("FLAG", 1.0)) == {"code": [1], "value": [0.0], "has_value": [0.0]}


def test_the_birth_is_the_age_at_the_prediction_time():
    train = [item("MEDS_BIRTH", hours=age * YEAR) for age in (40, 60)]
    assert Static(min_subjects=1).reader.fit_items(train)["codes"]["MEDS_BIRTH"] == {
        "mean": pytest.approx(50),
        "std": pytest.approx(10),
    }
    found = prepared(build(train), item("MEDS_BIRTH", hours=65 * YEAR))
    assert found == {"code": [1], "value": [pytest.approx(1.5)], "has_value": [1.0]}


def test_values_are_standardised_clipped_and_finite_or_absent():
    static = build([item("A", 1.0), item("A", 3.0), item("B")])
    found = prepared(
        static,
        *(item("A", value) for value in (2.5, 1e9, -1e9, float("nan"), float("inf"), None)),
        item("B", 4.0),
    )
    assert found["value"] == [0.5, 5.0, -5.0, 0.0, 0.0, 0.0, 0.0]
    assert found["has_value"] == [1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0]
    assert found["code"] == [1, 1, 1, 1, 1, 1, 2]


def test_columns_give_many_rows_what_prepare_gives_each():
    codes = ["A", "B", "MEDS_BIRTH", "NEW"]
    static = build(
        [
            item("A", 1.0),
            item("A", 3.0),
            item("B"),
            *(item("MEDS_BIRTH", hours=h * YEAR) for h in (1, 9)),
        ]
    )
    rows = [item(codes[n % 4], None if n % 3 == 0 else n / 7, 1000.0 * n) for n in range(24)]
    pieces = static.reader.numbered(codes).preprocess_rows(to_columns(rows, codes, range(24)))
    together = {name: part.tolist() for name, part in pieces.tensors.items()}
    assert together == prepared(static, *rows)


def test_a_code_never_seen_in_training_says_exactly_nothing():
    static = build([item("A", 1.0), item("A", 3.0)])
    pieces = [
        static.reader.preprocess_items([item("NEW", 2.0)], [0]),
        static.reader.preprocess_items([item("A", 2.0)], [0]),
        static.reader.preprocess_items([item("A")], [0]),
    ]
    with torch.no_grad():
        unknown, present, absent = static.encode(collate_pieces(pieces))[:, 0]
    assert not unknown.any()
    assert not torch.allclose(present, absent)


@pytest.mark.parametrize("values", [[1.0, 3.0], [None, None]])
def test_every_part_trains(values):
    static = build([item("A", value) for value in values])
    static.encode(
        static.reader.preprocess_items([item("A", 2.5)], [0]).tensors
    ).square().sum().backward()
    assert [
        name for name, part in static.named_parameters() if part.grad is None or not part.grad.any()
    ] == []


@given(
    st.lists(
        st.tuples(st.sampled_from("ABCDE"), st.integers(0, 15), st.none() | st.floats(-9, 9)),
        max_size=200,
    )
)
def test_what_few_subjects_have_is_neither_named_nor_measured(rows):
    found = Static().reader.fit_items(
        [item(code, value, subject=subject) for code, subject, value in rows]
    )
    having = {code: {subject for name, subject, _ in rows if name == code} for code in "ABCDE"}
    measured = {
        c: {s for name, s, value in rows if name == c and value is not None} for c in "ABCDE"
    }
    assert set(found["codes"]) == {code for code, subjects in having.items() if len(subjects) >= 11}
    assert found["num_rare"] == sum(0 < len(subjects) < 11 for subjects in having.values())
    assert found["min_subjects"] == 11
    for code, known in found["codes"].items():
        values = [value for name, _, value in rows if name == code and value is not None]
        expected = np.mean(values) if len(measured[code]) >= 11 else None
        assert known["mean"] == pytest.approx(expected, abs=1e-9)


def common_and_rare(*rare):
    return [*(item("A", float(subject), subject=subject) for subject in range(20)), *rare]


def test_common_codes_are_encoded_as_if_rare_ones_were_not_there():
    pure, mixed = (
        build(common_and_rare(*rare), 11)
        for rare in ((), (item("X", 4711.625), item("Y", subject=1)))
    )
    assert mixed.reader.statistics == pure.reader.statistics
    assert prepared(mixed, item("A", 7.0)) == prepared(pure, item("A", 7.0))


def test_rare_and_unknown_codes_share_one_embedding():
    static = build(common_and_rare(item("X", 4711.625), item("Y", 1.0, subject=1)), 11)
    found = prepared(static, item("X", 4711.625), item("Y"), item("NEW", 3.0))
    assert found == {"code": [0, 0, 0], "value": [0.0] * 3, "has_value": [0.0] * 3}
    tokens = static.encode(
        collate_pieces(
            [static.reader.preprocess_items([item(code, 9.0)], [0]) for code in ("X", "NEW", "A")]
        )
    )[:, 0]
    assert torch.equal(tokens[0], tokens[1])
    assert tokens[0].any()
    assert not torch.allclose(tokens[0], tokens[2])
    columns = to_columns([item("A", 9.5), item("X", 9.5)], ["A", "X"], [0, 1])
    facts = static.facts(static.reader.numbered(["A", "X"]).preprocess_rows(columns), 2)
    assert facts.shape[1] == static.num_facts == 3
    assert (facts * 3**0.5).numpy() == pytest.approx(np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]))
    assert static.reader.remarks(
        Static().reader.fit_items(common_and_rare(item("X", 4711.625)))
    ) == ["1 of 2 codes have fewer than 11 training subjects and share one token, without values"]


@pytest.mark.parametrize("min_subjects", [0, -1])
def test_a_floor_below_one_subject_is_refused(min_subjects):
    with pytest.raises(ConfigError, match="min_subjects"):
        Static(min_subjects=min_subjects)


@pytest.mark.parametrize("wrong", [1e30, -1e30, 1e308])
def test_a_typing_error_moves_the_statistics_of_nobody(wrong):
    values = np.random.default_rng(0).normal(80, 10, 40).tolist()
    found = Static(min_subjects=1).reader.fit_items(item("A", value) for value in [*values, wrong])[
        "codes"
    ]["A"]
    assert (
        found
        == Static(min_subjects=1).reader.fit_items(item("A", value) for value in values)["codes"][
            "A"
        ]
    )
    assert found["std"] == pytest.approx(np.std(values))


@pytest.mark.parametrize(
    "values", [[0.0] * 60 + [1e5, 3e5], [0, 1e9] * 20, np.geomspace(1e-2, 1e2, 50).tolist()]
)
def test_skewed_values_are_all_measured(values):
    found = Static(min_subjects=1).reader.fit_items(item("A", value) for value in values)["codes"][
        "A"
    ]
    assert found == {"mean": pytest.approx(np.mean(values)), "std": pytest.approx(np.std(values))}


def test_new_codes_and_far_values_are_counted():
    def strange(static, *rows):
        found = static.reader.strange(
            collate_pieces([static.reader.preprocess_items([each], [0]) for each in rows])
        )
        return {what.split(";")[0]: counts for what, counts in found.items()}

    static = build([item("A", 1.0), item("A", 3.0), item("B")])
    rows = [
        item("A", 2.0),
        item("A", 70.0),
        item("A", -70.0),
        item("A"),
        item("B", 9.0),
        item("NEW", 9.0),
    ]
    assert strange(static, *rows) == {
        "of the facts have codes that the model does not know": (1, 6, 0.1),
        "of the values of facts lie more than 5 deviations from training": (2, 3, 0.1),
    }
    shared = build(common_and_rare(item("X")), 11)
    told = "of the facts have codes that the model does not know, or knows as rare"
    assert strange(shared, item("X"), item("NEW"), item("A"))[told] == (2, 3, 0.5)
