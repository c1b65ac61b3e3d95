import polars as pl
import pytest

from clintune.cohort.shards import ROW, typed
from clintune.core.errors import DataError
from helpers.cohort_samples import T0, Reader, items_of, labels, open_index

GOOD = pl.DataFrame({"subject_id": [1, 1], "time": [T0, None], "code": ["a", "b"]})


class NeedsUnit(Reader):
    def row_filter(self):
        return pl.col("unit") == "mg"


def open_with(root, table, reader=None):
    (root / "data").mkdir()
    table.write_parquet(root / "data/0.parquet")
    return open_index(root, {"task": labels((1, 5, [1.0]))}, {"codes": reader or Reader()})


@pytest.mark.parametrize("column", ["subject_id", "time", "code"])
def test_a_missing_column_is_named_with_its_file(tmp_path, column):
    with pytest.raises(DataError, match=rf"data/0\.parquet: lacks column {column}"):
        open_with(tmp_path, GOOD.drop(column))


@pytest.mark.parametrize(
    ("misnamed", "meant"),
    [
        *[(name, "numeric_value") for name in ("value", "Numeric_Value", "numeric_vlaue")],
        *[(name, "numeric_value") for name in ("valuenum", "numeric value", "numericvalues")],
        *[(name, "text_value") for name in ("text", "textvalue", "TEXT_VALUE", "text_valeu")],
    ],
)
def test_a_column_with_nearly_the_name_is_refused(tmp_path, misnamed, meant):
    says = rf"data/0\.parquet: column '{misnamed}' is not read; did you mean {meant}\?"
    with pytest.raises(DataError, match=says):
        open_with(tmp_path, GOOD.with_columns(pl.lit(None).alias(misnamed)))


def test_a_media_column_with_nearly_the_name_is_refused(tmp_path):
    scan = GOOD.with_columns(imagepath=pl.lit("a.png")).lazy().with_row_index(ROW)
    with pytest.raises(DataError, match=r"'imagepath' is not read; did you mean image_path\?"):
        typed(scan, "here", ["image_path"])


@pytest.mark.parametrize(
    ("misnamed", "meant"), [("Time", "time"), ("patient_id", "subject_id"), ("codes", "code")]
)
def test_a_required_column_of_another_name_is_pointed_at(tmp_path, misnamed, meant):
    with pytest.raises(DataError, match=rf"lacks column {meant}; .*; is it '{misnamed}'\?"):
        open_with(tmp_path, GOOD.rename({meant: misnamed}))


@pytest.mark.parametrize(
    "columns",
    [
        ["numeric_value", "value", "numericvalue"],
        ["unit", "hadm_id", "ward_id", "end_time", "categorical_value", "valueuom", "note_id"],
        ["route", "dose", "flag", "interpretation", "comment", "row_id", "timestamp", "patient_id"],
    ],
)
def test_other_columns_are_allowed(tmp_path, columns):
    table = GOOD.with_columns(pl.lit(None, pl.Float32).alias(name) for name in columns)
    assert len(open_with(tmp_path, table)) == 1


@pytest.mark.parametrize(
    ("column", "kind"),
    [("subject_id", pl.String), ("time", pl.Date), ("time", pl.String), ("code", pl.Binary)],
)
def test_a_type_that_cannot_stand_for_the_standards_is_refused(tmp_path, column, kind):
    with pytest.raises(DataError, match=rf"data/0\.parquet: column {column} is .*cast it"):
        open_with(tmp_path, GOOD.with_columns(pl.col(column).cast(kind)))


@pytest.mark.parametrize("column", ["subject_id", "code"])
def test_a_null_where_a_value_must_stand_is_named_with_its_row(tmp_path, column):
    table = GOOD.with_columns(
        pl.when(pl.int_range(pl.len()) != 1).then(pl.col(column)).alias(column)
    )
    with pytest.raises(DataError, match=rf"data/0\.parquet: row 1: column {column} is null"):
        open_with(tmp_path, table)


def test_narrow_and_categorical_types_are_read(tmp_path):
    table = GOOD.with_columns(
        pl.col("subject_id").cast(pl.Int32), pl.col("code").cast(pl.Categorical)
    )
    assert [item.code for item in items_of(open_with(tmp_path, table), 0)] == ["b", "a"]


@pytest.mark.parametrize(("late", "seen"), [(0, True), (1, False), (999, False)])
@pytest.mark.parametrize("zone", [None, "Europe/Berlin"])
def test_a_nanosecond_after_the_prediction_is_not_seen(tmp_path, late, seen, zone):
    hours = (
        pl.col("time").dt.cast_time_unit("ns").dt.offset_by(f"{late}ns").dt.replace_time_zone(zone)
    )
    (tmp_path / "data").mkdir()
    GOOD.head(1).with_columns(hours).write_parquet(tmp_path / "data/0.parquet")
    at_it = labels((1, 0, [1.0])).with_columns(
        pl.col("prediction_time")
        .dt.replace_time_zone(zone)
        .dt.convert_time_zone("UTC")
        .dt.replace_time_zone(None)
    )
    index = open_index(tmp_path, {"task": at_it}, {"codes": Reader()})
    assert bool(items_of(index, 0)) is seen


def test_a_column_that_the_data_lack_is_named(tmp_path):
    with pytest.raises(DataError, match=r"data/0\.parquet: lacks column unit"):
        open_with(tmp_path, GOOD, NeedsUnit())


def test_a_modality_may_read_extension_columns(tmp_path):
    index = open_with(tmp_path, GOOD.with_columns(unit=pl.Series(["mg", "kg"])), NeedsUnit())
    assert [item.code for item in items_of(index, 0)] == ["a"]


def test_a_damaged_file_is_named(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/0.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(DataError, match=r"data/0\.parquet: not a readable Parquet file"):
        open_index(tmp_path, {"task": labels((1, 5, [1.0]))})


def test_a_cohort_without_data_and_no_cohort_are_told_apart(tmp_path):
    with pytest.raises(DataError, match="holds no Parquet file"):
        open_index(tmp_path, {"task": labels((1, 5, [1.0]))})
    with pytest.raises(DataError, match="is not a folder"):
        open_index(tmp_path / "nowhere", {"task": labels((1, 5, [1.0]))})


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "not a JSON object"),
        ("[1]", "not a JSON object"),
        ("[" * 100_000, "not a JSON object"),
        (
            '{"additional_value_modality_columns": 5}',
            "additional_value_modality_columns is no list of columns",
        ),
    ],
)
def test_dataset_metadata_that_cannot_be_meant_is_named(tmp_path, content, says):
    (tmp_path / "metadata").mkdir()
    (tmp_path / "metadata/dataset.json").write_text(content)
    with pytest.raises(DataError, match=rf"dataset\.json: {says}"):
        open_with(tmp_path, GOOD)
