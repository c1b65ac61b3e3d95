"""What leaves the house of training events: nothing that few have, and nobody's own value."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clintune.contracts import RowColumns
from clintune.modalities.event_stream.reader import scale_of
from clintune.modalities.event_stream.statistics import find_knots, fit_events, prefixes_of

CODES = ["LAB//NA", "LAB//K", "DRUG//A//ORAL", "DRUG//A//IV", "X"]


def columns(rows):
    """Return rows of (subject, number of code, value or None)."""
    rows = sorted(rows, key=lambda row: row[0])
    return RowColumns(
        code=np.array([code for _, code, _ in rows], np.int32),
        value=np.array([np.nan if value is None else value for *_, value in rows], np.float32),
        hours=np.zeros(len(rows)),
        owner=np.array([subject for subject, *_ in rows], np.int64),
    )


VALUES = (
    st.none()
    | st.floats(width=32, allow_nan=False, allow_infinity=False)
    | st.sampled_from([float("inf"), float("-inf")])
)
ROWS = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 4), VALUES), max_size=150)


@settings(deadline=None)
@given(ROWS)
def test_nothing_that_few_subjects_have_is_named_or_measured(rows):
    found = fit_events([columns(rows)], CODES, 11)
    json.dumps(found, allow_nan=False)
    having = {code: {row[0] for row in rows if CODES[row[1]] == code} for code in CODES}
    assert set(found["codes"]) == {code for code, subjects in having.items() if len(subjects) >= 11}
    assert found["num_rare"] == sum(0 < len(subjects) < 11 for subjects in having.values())
    for prefix in ("LAB", "DRUG", "DRUG//A"):
        subjects = {row[0] for row in rows if CODES[row[1]].startswith(f"{prefix}//")}
        assert (prefix in found["prefixes"]) == (len(subjects) >= 11)
    for code, known in found["codes"].items():
        finite = [
            r
            for r in rows
            if CODES[r[1]] == code and r[2] is not None and np.isfinite(np.float32(r[2]))
        ]
        assert not known["knots"] or len({row[0] for row in finite}) >= 11 * len(known["knots"])


@settings(deadline=None)
@given(ROWS, st.integers(1, 30))
def test_statistics_do_not_depend_on_the_chunks(rows, cut):
    whole = columns(rows)
    parts = [whole.take(whole.owner < cut), whole.take(whole.owner >= cut)]
    one, two = (
        fit_events([whole], CODES, 2),
        fit_events([part for part in parts if len(part)], CODES, 2),
    )
    assert one["prefixes"] == two["prefixes"]
    assert one["codes"].keys() == two["codes"].keys()
    for code, known in one["codes"].items():
        assert known["knots"] == two["codes"][code]["knots"]
        assert known["count"] == pytest.approx(two["codes"][code]["count"], rel=1e-3)


def test_knots_are_shares_of_at_least_eleven_subjects():
    draw = np.random.default_rng(0)
    values = draw.standard_normal(2000)
    many = find_knots(values, np.arange(2000), 11)
    assert len(many) == 32
    assert many == sorted(many)
    assert not set(many) & set(values.tolist())
    assert len(find_knots(values[:100], np.arange(100), 11)) == 8
    assert find_knots(values, np.arange(2000) % 21, 11) != []
    assert find_knots(values[:21], np.arange(21), 11) == []
    assert find_knots(np.ones(500), np.arange(500), 11) == []


def test_a_typing_error_moves_no_knot_but_is_left_out():
    values = np.random.default_rng(1).normal(37, 0.5, 1000)
    wrong = np.append(values, 3.7e7)
    found = find_knots(wrong, np.arange(1001), 11)
    assert found == pytest.approx(find_knots(values, np.arange(1000), 11), abs=0.02)


def test_equal_knots_share_the_mean_of_their_scores():
    knots, scores = scale_of([0.0, 0.0, 0.0, 1.0])
    assert knots == [0.0, 1.0]
    assert scores[0] < 0 < scores[1]
    assert scale_of([]) == ([], [])


def test_prefixes_end_before_a_separator_the_longest_first():
    assert prefixes_of("LAB//NA//mmol/L") == ["LAB//NA", "LAB"]
    assert prefixes_of("X") == []
