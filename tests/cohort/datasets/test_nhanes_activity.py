import numpy as np
import polars as pl
import pytest

from clintune.cohort.datasets.nhanes_activity import _ACTIVITY, _COVARIATES, import_nhanes_activity
from clintune.core.errors import ConfigError, DataError

AGES = [15, 20, 35, 49, 50, 60, 79, 80, 80, 66]
DAYS = [7, 7, 7, 7, 7, 2, 7, 3, 7, None]
DIED = [None, 0, 0, 1, 1, 1, 0, 1, None, 1]


def made_up():
    draw = np.random.default_rng(0)
    table = {column: draw.normal(10, 2, len(AGES)) for column in _ACTIVITY}
    table |= {column: draw.choice(["yes", "no"], len(AGES)) for column in _COVARIATES}
    table |= {
        "SEQN": [str(100 + person) for person in range(len(AGES))],
        "age_in_years_at_screening": AGES,
        "gender": ["Female", "Male"] * 5,
        "num_valid_days": DAYS,
        "mortstat": DIED,
        "permth_exm": [None if died is None else 12 for died in DIED],
        "ucod_leading": ["secret"] * len(AGES),
        "full_sample_2_year_interview_weight": ["secret"] * len(AGES),
    }
    table["peak1_adeptsteps"][1] = -np.inf
    table["cat_alcohol"] = ["Missing alcohol"] * len(AGES)
    return pl.DataFrame(table)


def imported(folder, question, table=None):
    (folder / "raw").mkdir(exist_ok=True)
    (made_up() if table is None else table).write_parquet(folder / "raw/nhanes_2011_2014.parquet")
    import_nhanes_activity(folder / "cohort", folder / "raw", question)
    label = pl.read_parquet(folder / "cohort/labels" / f"{question}.parquet")
    return pl.read_parquet(folder / "cohort/data/0.parquet"), label


def widened():
    """Return the made-up people often enough for five folds."""
    tables = [made_up().with_columns(SEQN=pl.col("SEQN") + str(copy)) for copy in range(3)]
    draw = np.random.default_rng(1)
    return pl.concat(tables).with_columns(total_AC=pl.Series(draw.normal(10, 2, 30)))


def test_the_age_of_adults_is_asked_from_activity_and_sex_alone(tmp_path):
    events, label = imported(tmp_path, "age", widened())
    assert sorted(set(label["float_value"])) == [20, 35, 49, 50, 79]
    assert {code.split("//")[0] for code in events["code"]} == {"ACTIVITY", "SEX"}
    assert set(label.columns) == {"subject_id", "prediction_time", "float_value"}
    # A value that is not finite is absent.
    assert 1010 not in events.filter(code="ACTIVITY//peak1_adeptsteps")["subject_id"]


def test_survival_is_asked_of_those_followed_up(tmp_path):
    events, label = imported(tmp_path, "survival", widened())
    people = {1040: True, 1060: False, 1070: True}
    found = label.filter(pl.col("subject_id") % 10 == 0)
    assert dict(found.select("subject_id", "boolean_value").iter_rows()) == people
    assert label["float_value"].to_list() == pytest.approx([365.25] * len(label))
    assert "secret" not in events.write_csv()
    codes = set(events["code"])
    assert {"AGE", "CHF//yes", "MOBILITYPROBLEM//no"} <= codes
    assert not [code for code in codes if code.startswith("ALCOHOL")]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"total_AC": pl.lit("much")},
            r"nhanes_2011_2014\.parquet: row 0: column total_AC is not a number",
        ),
        ({"mortstat": pl.lit(2)}, "row 0: column mortstat holds no value of the data set"),
        ({"SEQN": pl.lit("7")}, "column SEQN is empty or has a number twice"),
    ],
)
def test_bad_cells_are_answered_with_file_row_and_column(tmp_path, change, message):
    with pytest.raises(DataError, match=message) as caught:
        imported(tmp_path, "age", widened().with_columns(**change))
    assert "\n" not in str(caught.value)


def test_another_question_and_a_missing_table_are_named(tmp_path):
    with pytest.raises(ConfigError, match=r"question 'sex': is none of age, survival"):
        import_nhanes_activity(tmp_path / "cohort", tmp_path, "sex")
    with pytest.raises(DataError, match=r"nhanes_2011_2014\.csv: is missing"):
        import_nhanes_activity(tmp_path / "cohort", tmp_path, "age")


def test_the_real_data_have_the_published_counts(tmp_path, real_data):
    raw = real_data / "nhanes_activity_mortality"
    import_nhanes_activity(tmp_path / "survival", raw, "survival")
    label = pl.read_parquet(tmp_path / "survival/labels/survival.parquet")
    assert (len(label), label["boolean_value"].sum()) == (4244, 724)
    import_nhanes_activity(tmp_path / "age", raw, "age")
    assert len(pl.read_parquet(tmp_path / "age/labels/age.parquet")) == 7706
