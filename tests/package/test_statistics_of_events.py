"""A package's statistics of events that the modality cannot use are refused in one line."""

from pathlib import Path

import pytest

from clintune.core.errors import PackageError
from clintune.modalities.events import Events
from clintune.package.statistics import check_statistics

GOOD = {
    "codes": {"A": {"knots": [1.0, 1.0, 2.0], "count": [0.7, 1.0]}},
    "prefixes": ["B"],
    "min_subjects": 11,
}


def check(statistics):
    check_statistics(Path("package"), {"events": Events()}, {"events": statistics})


def test_what_events_learn_is_taken():
    check(GOOD)
    check(GOOD | {"codes": {"A": {"knots": [], "count": [0.0, 1.0]}}, "num_rare": 3})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"codes": None}, "have no codes"),
        ({"prefixes": None}, "lack a list of prefixes"),
        ({"prefixes": ["A"]}, "none of them a code"),
        ({"prefixes": ["B", "B"]}, "each once"),
        ({"codes": {"A": {"knots": []}}}, "without knots and count"),
        ({"codes": {"A": {"knots": [2.0, 1.0], "count": [0, 1]}}}, "ascending numbers"),
        ({"codes": {"A": {"knots": [1.0, 1.0], "count": [0, 1]}}}, "ascending numbers"),
        ({"codes": {"A": {"knots": ["x"], "count": [0, 1]}}}, "ascending numbers"),
        ({"codes": {"A": {"knots": [float(n) for n in range(33)], "count": [0, 1]}}}, "too many"),
        ({"codes": {"A": {"knots": [], "count": [0, 0]}}}, "deviation above 0"),
        ({"more": 1}, "unknown key more"),
        ({"num_rare": -1}, "num_rare that is no whole number"),
    ],
)
def test_what_events_never_learn_is_refused(change, said):
    with pytest.raises(PackageError, match=said) as raised:
        check(GOOD | change)
    assert "\n" not in str(raised.value)
