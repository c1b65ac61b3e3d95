"""Doubtful rows of a cohort are told at each opening; nothing that few subjects have is named."""

from math import inf, nan

import numpy as np
import polars as pl
import pytest

from helpers.cohort_samples import (
    EVENTS,
    Reader,
    at,
    declare_media,
    labels,
    open_index,
    write_shard,
)

YEAR = 365 * 24 * 60
"""Minutes of a year."""


def opened(root, births):
    write_shard(
        root / "data/0.parquet",
        [(s, m, "MEDS_BIRTH", None) for s, m in births] + [(9, 0, "a", 1.0)],
    )
    return open_index(root, {"task": labels(*((s, 10, [1.0]) for s in (1, 2, 9)))})


def remarks(root, rows, minute=10):
    """Return what is remarked of one table's rows; all its subjects are labelled at one minute."""
    write_shard(root / "data/0.parquet", rows)
    subjects = sorted({row[0] for row in rows})
    return open_index(
        root, {"task": labels(*((subject, minute, [1.0]) for subject in subjects))}
    ).remarks


def test_births_after_the_prediction_and_two_births_count(tmp_path, capsys):
    index = opened(tmp_path, [(1, 11), (2, 0), (2, 5), (9, 10)])
    assert index.remarks == [
        "1 subjects have births at several times; each counts: keep one row MEDS_BIRTH a subject",
        "1 samples stand before their subject's birth and have no age; correct MEDS_BIRTH",
    ]
    assert "made_up: 1 samples stand before" in capsys.readouterr().err
    opened(tmp_path, [(1, 11), (2, 0), (2, 5), (9, 10)])
    assert "made_up: 1 samples stand before" in capsys.readouterr().err, "said each time"


def test_births_that_can_be_say_nothing(tmp_path, capsys):
    assert opened(tmp_path, [(1, 10), (2, 0)]).remarks == []
    assert capsys.readouterr().err == ""


def test_births_are_compared_in_microseconds(tmp_path):
    root = tmp_path / "data"
    root.mkdir()
    moment = at(10).replace(microsecond=1)
    pl.DataFrame(
        {"subject_id": [1, 1], "time": [moment, at(0)], "code": ["MEDS_BIRTH", "a"]}
    ).write_parquet(root / "0.parquet")
    assert len(open_index(tmp_path, {"task": labels((1, 10, [1.0]))}).remarks) == 1


def test_ages_that_nobody_reaches_are_counted(tmp_path):
    rows = [
        (1, -111 * YEAR, "MEDS_BIRTH", None),
        (2, -109 * YEAR, "MEDS_BIRTH", None),
        (1, 0, "VISIT", None),
    ]
    assert remarks(tmp_path, rows) == [
        "1 samples are of subjects older than 110 years; correct MEDS_BIRTH"
    ]


def test_rows_long_before_the_birth_count_not_a_pregnancys(tmp_path):
    rows = [
        (1, 0, "MEDS_BIRTH", None),
        (1, -300 * 24 * 60, "SCAN", None),
        (1, -2 * YEAR, "VISIT", None),
    ]
    assert remarks(tmp_path, rows) == [
        "1 rows are dated more than a year before their subject's birth; correct the times"
    ]


def test_rows_that_repeat_another_are_counted(tmp_path):
    rows = [(subject, 0, "LAB", float(subject)) for subject in range(20)]
    assert remarks(tmp_path, 3 * rows) == [
        "40 of 60 rows of codes repeat another one, with its time, code and value; drop the "
        "copies, unless they are meant"
    ]


def test_one_repeated_row_of_many_says_nothing(tmp_path):
    rows = [(subject, 0, "LAB", float(subject)) for subject in range(200)]
    assert remarks(tmp_path, [*rows, rows[0]]) == []


@pytest.mark.parametrize(
    ("year", "said"),
    [
        (1970, "are dated January 1970, as small numbers taken for times are; correct them"),
        (1900, "are dated more than 80 years from 2020, the middle; correct the times"),
        (2999, "are dated more than 80 years from 2020, the middle; correct the times"),
    ],
)
def test_rows_dated_far_off_are_counted(tmp_path, year, said):
    rows = [(subject, 0, "LAB", 1.0) for subject in range(20)]
    assert (
        remarks(tmp_path, [*rows, (20, (year - 2020) * YEAR + 20_000, "LAB", 1.0)])[0]
        == f"1 of 21 rows {said}"
    )


@pytest.mark.parametrize("years", [-50, -40, 150])
def test_a_cohort_with_a_clock_of_its_own_says_nothing(tmp_path, years):
    rows = [(subject, years * YEAR, "LAB", 1.0) for subject in range(20)]
    assert remarks(tmp_path, rows, years * YEAR + 10) == []


def test_samples_long_after_all_that_is_known_are_counted(tmp_path):
    rows = [(1, 0, "LAB", 1.0), (2, 2 * YEAR, "LAB", 1.0), (3, 0, "MEDS_BIRTH", None)]
    assert remarks(tmp_path, rows, 2 * YEAR) == [
        "1 of 3 samples stand more than a year after the last row of their subject; look whether "
        "both times are of one clock"
    ]


def test_codes_of_nan_alone_are_told(tmp_path):
    many = [
        (subject, 0, code, value)
        for subject in range(11)
        for code, value in (("K", nan), ("NA", 1.0))
    ]
    few = [(subject, 0, "RARE", nan) for subject in range(10)]
    some = [(0, 1, "NA", nan), (1, 0, "FLAG", None)]
    assert remarks(tmp_path, [*many, *few, *some]) == [
        "2 codes ('K', ...) have NaN as every value, which counts as absent"
    ]


@pytest.mark.parametrize(
    ("values", "sentinel", "told"),
    [
        ((3.5, 5.5), -999.0, True),
        ((60.0, 400.0), 9999.0, True),
        ((40.0, 180.0), -99.0, True),
        ((), -999.0, True),
        ((120.0, 150.0), -1.0, True),
        ((0.0, 1.0), -1.0, False),
        ((-5.0, 4.0), -1.0, False),
        ((20.0, 30.0), -32768.0, True),
        ((85.0, 98.0), 99.0, False),
        ((10.0, 900.0), 999.0, False),
        ((-4000.0, 4000.0), -999.0, False),
    ],
)
def test_a_number_that_stands_for_a_missing_value_is_told(tmp_path, values, sentinel, told):
    rows = [
        (subject, minute, "LAB", v)
        for subject in range(6)
        for minute, v in enumerate((*values, sentinel))
    ]
    expected = (
        "1 code (...) has values as -1, -999 or 9999, far from all others; "
        "write null where one is missing"
    )
    assert remarks(tmp_path, rows) == ([expected] if told else [])


def test_codes_that_differ_in_case_or_spaces_are_told(tmp_path):
    codes = ["LAB//K", "LAB//K ", "lab//k", "LAB//NA"]
    rows = [(subject, 0, code, 1.0) for subject in range(11) for code in codes]
    assert remarks(tmp_path, rows) == [
        "3 codes ('LAB//K', 'LAB//K ', 'lab//k') have names that differ in case or spaces alone, "
        "and count as different codes"
    ]


def test_births_without_a_time_are_counted(tmp_path):
    assert opened(tmp_path, [(1, None), (2, 0)]).remarks == [
        "1 rows MEDS_BIRTH have no time, so that nobody has an age by them; give it"
    ]


def test_samples_before_all_that_is_dated_are_counted(tmp_path):
    rows = [
        (1, 0, "LAB", 1.0),
        (2, 20, "LAB", 1.0),
        (3, 0, "MEDS_BIRTH", None),
        (3, 10, "LAB", 1.0),
    ]
    assert remarks(tmp_path, rows, 9) == [
        "2 of 3 samples stand before the first dated row of their subject, births apart; look "
        "whether both times are of one clock"
    ]


def test_rows_dated_by_the_day_are_told_if_predictions_are_not(tmp_path):
    midnight = 16 * 60
    rows = [
        (subject, midnight if subject < 5 else 5, "LAB", float(subject)) for subject in range(20)
    ]
    said = "5 of 20 rows are dated midnight, as days without a time are"
    assert remarks(tmp_path, rows, midnight + 9)[0].startswith(said)
    assert remarks(tmp_path, rows, midnight) == []


def test_rows_of_a_code_with_and_without_a_time_are_told(tmp_path):
    rows = [
        (subject, minute, "LAB", 1.0 + subject)
        for subject in range(11)
        for minute in (0, subject or None)
    ]
    rows += [(subject, None, "SEX", None) for subject in range(11)]
    assert remarks(tmp_path, rows, 90)[-1] == (
        "1 code ('LAB') has rows with and rows without a time; every sample sees the latter"
    )


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ([*np.linspace(0.5, 2, 40), *88.4 * np.linspace(0.5, 2, 10)], True),
        ([*np.linspace(130, 150, 40), *np.linspace(1300, 1500, 4)], False),
        ([*np.geomspace(0.1, 300, 50)], False),
        ([81.0, 325, 650, 5000, 25_000] * 10, False),
    ],
)
def test_values_in_two_groups_are_told(tmp_path, values, told):
    rows = [(subject, 0, "CREATININE", float(value)) for subject, value in enumerate(values)]
    said = (
        "1 code ('CREATININE') has values in two groups far apart; look whether all are in one unit"
    )
    assert remarks(tmp_path, rows) == ([said] if told else [])


@pytest.mark.parametrize(
    ("others", "told"), [(range(130, 150), True), (range(1, 40), False), ([4, 5, 6, 7, 8], False)]
)
def test_zeros_far_from_all_others_are_told(tmp_path, others, told):
    rows = [(subject, 0, "LAB", float(value)) for subject, value in enumerate([*others, 0, 0, 0])]
    said = "1 code ('LAB') has zeros far from all other values; write null where one is missing"
    assert remarks(tmp_path, rows) == ([said] if told else [])


def test_people_who_stand_twice_are_counted(tmp_path):
    rows = [
        (subject, minute, "LAB", float(subject % 15 + minute))
        for subject in range(18)
        for minute in range(6)
    ]
    assert remarks(tmp_path, rows) == [
        "6 subjects have the same rows as another, with times, codes and values; if they are one "
        "person, link them in metadata/linked_subjects.parquet"
    ]


def test_rows_that_modalities_share_do_not_make_people_alike(tmp_path):
    write_shard(
        tmp_path / "data/0.parquet",
        [(s, m, "LAB", float(s + m)) for s in range(12) for m in range(6)],
    )
    tasks = {"task": labels(*((subject, 9, [1.0]) for subject in range(12)))}
    assert open_index(tmp_path, tasks, {"one": Reader(), "other": Reader("LAB")}).remarks == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Ãœbelkeit fÃ¼r Stunden", "20 of 20 texts have letters as Ã¼ or â€"),
        (r"{\rtf1\ansi Nausea", "20 of 20 texts are RTF, HTML or XML"),
        ("<html><p>Nausea", "20 of 20 texts are RTF, HTML or XML"),
        (" 139.5", "20 of 20 texts are numbers; write them as numeric_value"),
        ("NÃO há ÃES, café", None),
    ],
)
def test_texts_that_are_none_are_told(tmp_path, text, said):
    rows = [(subject, 0, "NOTE", None) for subject in range(20)]
    write_shard(tmp_path / "data/0.parquet", rows, text_value=[text] * 20)
    found = open_index(tmp_path, {"task": labels(*((row[0], 9, [1.0]) for row in rows))}).remarks
    assert [line.startswith(said) for line in found] == [True] if said else found == []


def test_texts_and_files_without_a_time_are_counted(tmp_path):
    declare_media(tmp_path, "image_path")
    rows = [(1, None, "NOTE", None), (1, None, "XRAY", None), (1, 0, "XRAY", None)]
    write_shard(
        tmp_path / "data/0.parquet",
        rows,
        text_value=["x", None, None],
        image_path=[None, "a.png", "b.png"],
    )
    readers = {
        "notes": Reader("NOTE"),
        "imaging": Reader("XRAY", "image_path"),
        "everything": Reader(),
    }
    assert open_index(tmp_path, {"task": labels((1, 9, [1.0]))}, readers).remarks == [
        "1 rows with text_value have no time: every sample sees them, whenever they were written",
        "1 rows with a media file have no time: every sample sees them, whenever they were written",
        "1 code (...) has rows with and rows without a time; every sample sees the latter",
    ]


def test_infinite_values_of_all_shards_are_counted(tmp_path):
    for shard in range(2):
        write_shard(
            tmp_path / f"data/{shard}.parquet", [(shard, 0, "LAB", inf), (shard, 1, "LAB", -inf)]
        )
    index = open_index(tmp_path, {"task": labels((0, 5, [1.0]), (1, 5, [1.0]))})
    assert index.remarks == ["4 values of numeric_value are infinite and count as absent"]


def test_integers_and_absent_values_can_be_doubted_too(tmp_path):
    table = pl.DataFrame(
        [[1, 2], [at(0)] * 2, ["a", "b"], [-999, 5]], schema={**EVENTS, "numeric_value": pl.Int16}
    )
    (tmp_path / "data").mkdir()
    table.write_parquet(tmp_path / "data/0.parquet")
    table.drop("numeric_value").with_columns(pl.col("subject_id") + 2).write_parquet(
        tmp_path / "data/1.parquet"
    )
    assert open_index(tmp_path, {"task": labels((1, 5, [1.0]))}).remarks == []
