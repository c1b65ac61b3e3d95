"""Two groups of positive numbers are found in any unit, if a wide gap leaves enough per side."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clintune.cohort.two_groups import two_groups

EXPONENTS = st.lists(st.integers(-40, 40), min_size=1, max_size=40)


def powers(exponents):
    return 1.5 ** np.array(exponents, np.float64)


def test_milli_units_beside_units_are_a_thousand_times_apart():
    values = np.linspace(0.5, 1.5, 41)
    assert two_groups(values) is None
    assert two_groups(np.concatenate([values, 1000 * values])) == pytest.approx(1000)


@given(EXPONENTS, st.integers(1, 5))
def test_groups_are_those_of_a_plain_reckoning(exponents, fewest):
    distinct = sorted(set(exponents))
    gaps = [
        distinct[place] - distinct[place - 1]
        for place in range(fewest, len(distinct) - fewest + 1)
        if min(
            sum(e < distinct[place] for e in exponents),
            sum(e >= distinct[place] for e in exponents),
        )
        >= 0.05 * len(exponents)
    ]
    found = two_groups(powers(exponents), fewest=fewest)
    assert (found is not None) == any(1.5**gap >= 5 for gap in gaps)
    assert found is None or found >= 1.5 ** max(gaps) * 0.999


@given(EXPONENTS, st.integers(-9, 9), st.randoms())
def test_neither_the_unit_nor_the_order_matters(exponents, shift, random):
    found = two_groups(powers(exponents), fewest=1)
    moved = [exponent + shift for exponent in exponents]
    random.shuffle(moved)
    assert two_groups(powers(moved), fewest=1) == (None if found is None else pytest.approx(found))


@given(EXPONENTS)
def test_weights_say_how_many_times_each_value_stands(exponents):
    distinct, counts = np.unique(exponents, return_counts=True)
    weighted = two_groups(powers(distinct), counts.astype(np.float64), fewest=1)
    plain = two_groups(powers(exponents), fewest=1)
    assert weighted == (None if plain is None else pytest.approx(plain))


def test_few_and_impossible_values_are_no_group():
    values = np.linspace(50, 150, 60)
    assert two_groups(np.array([])) is None
    assert two_groups(np.concatenate([values, [1e5, 2e5]])) is None
    assert two_groups(np.concatenate([values, [0, -1, np.nan, np.inf, -np.inf]])) is None
    assert two_groups(np.concatenate([np.tile(values, 2), [1e5, 2e5, 3e5]])) is None, (
        "less than a twentieth"
    )
