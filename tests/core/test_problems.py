"""Problems: one line each, of which a caller raises the first, or all."""

import pytest

from clintune.core.errors import ConfigError, DataError
from clintune.core.problems import Problem, raise_all, raise_first

ONE = Problem("data/0.parquet: row 3", "column code is null", "drop the row")
TWO = Problem("cohorts.a.root", "/nowhere is not a folder", "correct the path")


def test_a_problem_is_one_line_that_ends_with_its_remedy():
    assert str(ONE) == "data/0.parquet: row 3: column code is null; drop the row"


def test_the_first_problem_is_raised_and_no_other_looked_for():
    def check():
        yield ONE
        pytest.fail("the check went on")

    with pytest.raises(DataError) as error:
        raise_first(check())
    assert str(error.value) == str(ONE)


def test_the_kind_of_error_is_the_callers():
    with pytest.raises(ConfigError, match=r"cohorts\.a\.root: /nowhere"):
        raise_first([TWO], ConfigError)


def test_all_problems_are_raised_as_one_line():
    with pytest.raises(ConfigError) as error:
        raise_all("train", [ONE, TWO, "'seed' is missing"])
    assert str(error.value) == f"train: {ONE}; and {TWO}; and 'seed' is missing"


def test_no_problem_raises_nothing():
    raise_first([])
    raise_all("train", [])
