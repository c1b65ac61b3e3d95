from datetime import datetime

import numpy as np
import polars as pl
import pytest

from clintune.cohort.datasets.survival_classics import _SETS, import_survival_classic
from clintune.core.errors import ConfigError, DataError

NEVER = {
    "support2": [
        "hospdead", "slos", "charges", "totcst", "totmcst", "avtisst", "sfdm2", "dnr", "dnrday",
        "aps", "sps", "surv2m", "surv6m", "prg2m", "prg6m", "adlsc",
    ],
    "flchain": ["chapter"],
    "gbsg": ["pid"],
    "mgus2": ["id"],
}  # fmt: skip
MONTH = 365.25 / 12


def made_up(name, people=20):
    """Return a table with the columns of a set; those never read hold words that would be found."""
    chosen, draw = _SETS[name], np.random.default_rng(0)
    table = {column: draw.normal(50, 10, people).round(3) for column in chosen.measured}
    table |= {column: draw.choice(["one", "other/kind"], people) for column in chosen.classes}
    table |= dict.fromkeys(NEVER[name], "secret")
    for _, days, seen in chosen.ends:
        table |= {days: np.arange(1, people + 1), seen: np.arange(people) % 2}
    return pl.DataFrame(table)


def imported(folder, name, table):
    (folder / "raw").mkdir(exist_ok=True)
    table.write_parquet(folder / "raw" / f"{name}.parquet")
    import_survival_classic(folder / "cohort", folder / "raw", name)
    events = pl.read_parquet(folder / "cohort/data/0.parquet")
    return events, pl.read_parquet(folder / "cohort/labels/survival.parquet")


@pytest.mark.parametrize("name", _SETS)
def test_every_person_has_every_fact_once_and_nothing_later(tmp_path, name):
    events, labels = imported(tmp_path, name, made_up(name))
    chosen = _SETS[name]
    assert len(events) == 20 * (len(chosen.measured) + len(chosen.classes))
    assert events["time"].null_count() == len(events)
    assert "secret" not in events.write_csv()
    codes = {code.split("//")[0] for code in events["code"].unique()}
    later = {column for _, *pair in chosen.ends for column in pair} | set(NEVER[name])
    assert not codes & {column.upper().replace(".", "_") for column in later}
    assert labels["subject_id"].to_list() == list(range(1, 21))
    assert set(labels["prediction_time"]) == {datetime(2000, 1, 1)}


def test_csv_of_r_reads_as_parquet_does(tmp_path):
    table = made_up("flchain").with_columns(creatinine=pl.lit(None, pl.Float64))
    events, labels = imported(tmp_path, "flchain", table)
    (tmp_path / "csv").mkdir()
    table.write_csv(tmp_path / "csv/flchain.csv", null_value="NA")
    import_survival_classic(tmp_path / "other", tmp_path / "csv", "flchain")
    assert pl.read_parquet(tmp_path / "other/data/0.parquet").equals(events)
    assert pl.read_parquet(tmp_path / "other/labels/survival.parquet").equals(labels)
    assert "CREATININE" not in set(events["code"])


def test_classes_and_numbers_become_codes_and_values(tmp_path):
    events, labels = imported(tmp_path, "gbsg", made_up("gbsg"))
    assert events.filter(code="NODES")["numeric_value"].null_count() == 0
    assert {"MENO//one", "MENO//other/kind"} <= set(events["code"])
    assert labels.row(1)[2:] == (2.0, True)


def test_who_died_on_the_first_day_lived_half_of_it(tmp_path):
    table = made_up("flchain").with_columns(futime=pl.Series([0, *range(2, 21)]))
    _, labels = imported(tmp_path, "flchain", table)
    assert labels["float_value"].to_list() == [0.5, *range(2, 21)]


def test_of_two_ends_the_first_counts(tmp_path):
    table = made_up("mgus2").with_columns(
        ptime=pl.Series([5, 7, 9, *[10] * 17]), pstat=pl.Series([1, 0, 0, *[0] * 17]),
        futime=pl.Series([8, 8, 9, *[11] * 17]), death=pl.Series([1, 1, 0, *[0] * 17]),
    )  # fmt: skip
    _, labels = imported(tmp_path, "mgus2", table)
    assert labels.columns == ["subject_id", "prediction_time", "float_value", "categorical_value"]
    assert labels["categorical_value"].to_list()[:3] == ["progression", "death", None]
    assert labels["float_value"].to_list()[:3] == pytest.approx([5 * MONTH, 8 * MONTH, 9 * MONTH])


def test_a_person_without_a_twin_is_not_linked_and_twins_are(tmp_path):
    table = made_up("gbsg")
    imported(tmp_path, "gbsg", table)
    assert not (tmp_path / "cohort/metadata/linked_subjects.parquet").exists()
    twins = table.with_columns(pl.col(table.columns[:8]).gather([0, *range(1, 19), 0]))
    imported(tmp_path, "gbsg", twins)
    assert pl.read_parquet(tmp_path / "cohort/metadata/linked_subjects.parquet").rows() == [
        (1, 1),
        (20, 1),
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"age": pl.lit("old")}, r"gbsg\.parquet: row 0: column age is not a number"),
        ({"rfstime": pl.lit(None, pl.Int64)}, r"gbsg\.parquet: row 0: column rfstime is empty"),
        (
            {"status": pl.lit(2)},
            r"gbsg\.parquet: row 0: column status holds no value of the data set",
        ),
    ],
)
def test_bad_cells_are_answered_with_file_row_and_column(tmp_path, change, message):
    with pytest.raises(DataError, match=message) as caught:
        imported(tmp_path, "gbsg", made_up("gbsg").with_columns(**change))
    assert "\n" not in str(caught.value)


def test_a_set_that_is_unknown_missing_or_incomplete_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"no set 'suport2'; did you mean 'support2'\?"):
        import_survival_classic(tmp_path / "cohort", tmp_path, "suport2")
    with pytest.raises(
        DataError, match=r"support2\.csv: is missing; download the data set from https://"
    ):
        import_survival_classic(tmp_path / "cohort", tmp_path, "support2")
    made_up("gbsg").drop("nodes").write_parquet(tmp_path / "gbsg.parquet")
    with pytest.raises(DataError, match=r"gbsg\.parquet: lacks column nodes"):
        import_survival_classic(tmp_path / "cohort", tmp_path, "gbsg")
    (tmp_path / "gbsg.parquet").write_bytes(b"no parquet")
    with pytest.raises(DataError, match=r"gbsg\.parquet: not a readable Parquet file"):
        import_survival_classic(tmp_path / "cohort", tmp_path, "gbsg")


@pytest.mark.parametrize(
    ("name", "ends"),
    [
        ("support2", {True: 6201, False: 2904}),
        ("gbsg", {True: 299, False: 387}),
        ("flchain", {True: 2169, False: 5705}),
        ("mgus2", {"progression": 115, "death": 860, None: 409}),
    ],
)
def test_the_real_data_have_the_published_counts(tmp_path, name, ends, real_data):
    import_survival_classic(tmp_path / "cohort", real_data / "survival_classics", name)
    labels = pl.read_parquet(tmp_path / "cohort/labels/survival.parquet")
    assert dict(labels.to_series(3).value_counts().iter_rows()) == ends
