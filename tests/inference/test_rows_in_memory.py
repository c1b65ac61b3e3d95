"""Rows and times as people have them; what does not fit is refused in one line with a remedy."""

import io
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import polars as pl
import pytest
from PIL import Image

import clintune
from clintune.core.errors import ClintuneError, ConfigError, DataError, PackageError
from clintune.tasks.calibration import Calibration

T0 = datetime(2026, 3, 1, 8)
RISK = "outcome/predicted_boolean_probability"


@pytest.fixture(scope="module")
def model(shared_run):
    return clintune.load(shared_run())


def rows(subjects=(1, 2), **columns):
    """Return an age and two notes, an hour apart, of each subject."""
    table = pl.DataFrame(
        {
            "subject_id": [subject for subject in subjects for _ in range(3)],
            "time": [None, T0, T0 + timedelta(hours=1)] * len(subjects),
            "code": ["AGE", "NOTE//PROGRESS", "NOTE//PROGRESS"] * len(subjects),
            "numeric_value": [61.0, None, None] * len(subjects),
            "text_value": [None, "Short of breath, oxygen started.", "Better."] * len(subjects),
        }
    )
    return table.with_columns(**columns)


def risks(model, *arguments, **options):
    return model.predict(*arguments, **options)[RISK].to_list()


@pytest.mark.parametrize("subjects", [(1,), (1, 2), tuple(range(10, 60))])
def test_one_or_many_subjects_are_answered(model, subjects):
    answers = model.predict(rows(subjects))

    assert answers.columns == [
        "subject_id",
        "prediction_time",
        "outcome/predicted_boolean_value",
        RISK,
        f"{RISK}_raw",
        "outcome/abstained",
        "lacks",
        "unreadable",
    ]
    assert answers["subject_id"].to_list() == list(subjects)
    assert set(answers["prediction_time"]) == {T0 + timedelta(hours=1)}
    assert answers[RISK].is_between(0, 1).all()
    assert answers["lacks"].to_list() == [["imaging", "wearable"]] * len(subjects)


def test_times_are_given_in_every_usual_form(model):
    events, one, two = rows(), T0 + timedelta(hours=2), T0 + timedelta(hours=3)
    table = pl.DataFrame({"subject_id": [1, 2], "prediction_time": [one, two]})
    expected = risks(model, events, at=table)
    asked = events.join(table, on="subject_id", maintain_order="left")
    forms = {
        "mapping": {1: one, 2: two},
        "pandas": table.to_pandas(),
        "pandas series": table.to_pandas().set_index("subject_id")["prediction_time"],
        "series": asked["prediction_time"],
        "arrow": table.to_arrow(),
    }

    assert {name: risks(model, events, at=at) for name, at in forms.items()} == dict.fromkeys(
        forms, expected
    )
    assert risks(model, asked, at="prediction_time") == expected
    assert risks(model, events.to_pandas(), at={1: one, 2: two}) == expected
    assert risks(model, events.lazy(), at=one)[0] == pytest.approx(expected[0], abs=1e-6)


def test_answers_keep_the_order_of_the_times(model):
    moments = [T0 + timedelta(hours=hour) for hour in (2, 5, 1)]
    at = pl.DataFrame({"subject_id": [2, 1, 2], "prediction_time": moments})
    answers = model.predict(rows(), at=at)
    assert answers.select("subject_id", "prediction_time").equals(at)
    alone = model.predict(rows((1,)), at=moments[1])
    assert answers[RISK][1] == pytest.approx(alone[RISK][0], abs=1e-6)


def test_times_with_a_zone_are_answered_in_utc(model):
    tokyo = pl.col("time").dt.replace_time_zone("UTC").dt.convert_time_zone("Asia/Tokyo")
    plain, zoned = rows(), rows().with_columns(tokyo)
    at = T0 + timedelta(hours=1)
    answers = model.predict(zoned, at=at.replace(tzinfo=UTC))
    assert answers["prediction_time"].to_list() == [at, at]
    assert answers[RISK].to_list() == risks(model, plain, at=at)


def test_a_look_back_leaves_older_rows_out(model):
    at = T0 + timedelta(hours=1)
    recent = rows().filter(pl.col("time").is_null() | (pl.col("time") > T0))
    assert risks(model, rows(), at=at, lookback_hours=0.5) == risks(model, recent, at=at)


def test_an_image_may_come_as_bytes(model, tmp_path):
    file = io.BytesIO()
    Image.fromarray(np.eye(40, dtype=np.uint8) * 200).save(file, "PNG")
    (tmp_path / "x.png").write_bytes(file.getvalue())
    image = {"subject_id": [1], "time": [T0], "code": ["IMAGE//CXR"]}
    found = []
    for cell in ("x.png", str(tmp_path / "x.png"), file.getvalue()):
        events = pl.concat(
            [rows((1,)), pl.DataFrame({**image, "image_path": [cell]})], how="diagonal"
        )
        found.append(model.predict(events, root=tmp_path))
    assert found[0].equals(found[1])
    assert found[0].equals(found[2])
    assert found[0]["lacks"].to_list() == [["wearable"]]

    as_pandas = pd.DataFrame({**image, "image_path": [file.getvalue()]})
    assert model.predict(as_pandas)["lacks"].to_list() == [["notes", "wearable", "static"]]


def test_an_unreadable_item_is_named_and_abstained_from(model, tmp_path):
    file = pl.DataFrame(
        {"subject_id": [1], "time": [T0], "code": ["IMAGE//CXR"], "image_path": ["gone.png"]}
    )
    events = pl.concat([rows(), file], how="diagonal")
    with pytest.raises(
        DataError, match=r"modalities\.imaging: 1 of 1 items are unreadable.*events: row 6"
    ):
        model.predict(events, root=tmp_path)
    answers = model.predict(events, root=tmp_path, max_bad_fraction=1.0)
    assert answers["outcome/abstained"].to_list() == [True, False]
    assert answers["outcome/predicted_boolean_value"].is_null().to_list() == [True, False]
    assert answers["unreadable"][0][0].startswith("imaging: events: row 6: ")
    assert answers[RISK].null_count() == 0


def test_a_sample_of_which_there_is_nothing_is_abstained_from(model):
    events = rows().drop_nulls("time")
    answers = model.predict(events, at={1: T0 - timedelta(hours=1), 2: T0})
    assert answers["outcome/abstained"].to_list() == [True, False]
    assert answers["lacks"].to_list()[1] == ["imaging", "wearable", "static"]


UNKNOWN = "rows have a code that the model does not know, or knows as rare (the first is row"


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ({}, ""),
        ({"AGE": "AGEE"}, f"note: events: 2 of 6 {UNKNOWN} 0); look whether it is called"),
        ({"NOTE//PROGRESS": "NOTE//JOHN DOE"}, ""),
    ],
    ids=["known", "mistyped", "of a text"],
)
def test_rows_of_codes_that_the_model_does_not_know_are_told(model, capsys, code, says):
    model.predict(rows().with_columns(pl.col("code").replace(code)))
    said = capsys.readouterr().err
    assert says in said
    assert "John" not in said
    assert said.count("\n") == bool(says)


def test_a_mistyped_code_among_others_is_told_by_its_row(model, capsys):
    heart_rate = {"subject_id": [2], "time": [None], "code": ["HEIGHTT"], "numeric_value": [1.7]}
    model.predict(pl.concat([rows(), pl.DataFrame(heart_rate)], how="diagonal_relaxed"))
    said = capsys.readouterr().err
    assert f"note: events: 1 of 7 {UNKNOWN} 6);" in said
    assert "HEIGHT" not in said


FAR = "prediction times are {} of their subject (the first is that of answer {}); look whether"


@pytest.mark.parametrize(
    ("days", "says"),
    [
        ((0.5, 365), []),
        ((-1, 0.5), [FAR.format("before the first dated row", 0)]),
        ((0.5, 731), [FAR.format("more than two years after the last row", 1)]),
    ],
)
def test_prediction_times_far_from_all_rows_are_told(model, capsys, days, says):
    at = {subject: T0 + timedelta(days=day) for subject, day in zip((1, 2), days, strict=True)}
    answers = model.predict(rows(), at=at)
    said = [line for line in capsys.readouterr().err.splitlines() if "note: at: " in line]
    assert len(said) == len(says)
    assert all(part in line for part, line in zip(says, said, strict=True))
    assert len(answers) == 2


WRONG = {
    "no table": (lambda: ([1, 2],), {}, "events: is a list; give a DataFrame of polars or pandas"),
    "no row": (lambda: (rows().head(0),), {}, "events: have no row"),
    "a misnamed value": (
        lambda: (rows().rename({"numeric_value": "value"}),),
        {},
        "events: column 'value' is not read; did you mean numeric_value?",
    ),
    "no code": (lambda: (rows().drop("code"),), {}, "events: lacks column code"),
    "null code": (
        lambda: (rows(code=pl.lit(None, pl.String)),),
        {},
        "events: row 0: column code is null",
    ),
    "wrong type": (
        lambda: (rows(time=pl.lit("now")),),
        {},
        "events: column time is String; MEDS wants",
    ),
    "a date": (
        lambda: (rows(time=pl.col("time").dt.date()),),
        {},
        "events: column time is Date; MEDS wants",
    ),
    "no times": (lambda: (rows(time=pl.lit(None, pl.Datetime("us"))),), {}, "no row has a time"),
    "unknown codes": (
        lambda: (rows(time=pl.lit(T0), text_value=pl.lit(None, pl.String)),),
        {},
        "events: no row is one that the model reads",
    ),
    "a stranger": (
        lambda: (rows(),),
        {"at": {1: T0, 7: T0}},
        "events: hold no row of 1 of the 2 subjects",
    ),
    "a zone": (
        lambda: (rows(),),
        {"at": T0.replace(tzinfo=UTC)},
        "at: has a time zone, column time of events has none",
    ),
    "a day": (lambda: (rows(),), {"at": {1: T0.date()}}, "at: column prediction_time is Date"),
    "no column": (lambda: (rows(),), {"at": "when"}, "at: 'when' is no column of events"),
    "few values": (
        lambda: (rows(),),
        {"at": pl.Series([T0])},
        "at: has 1 values for 6 rows of events",
    ),
    "no subject": (
        lambda: (rows(),),
        {"at": pl.DataFrame({"prediction_time": [T0]})},
        "at: lacks column subject_id",
    ),
    "twice": (
        lambda: (rows(),),
        {"at": pl.DataFrame({"subject_id": [1, 1], "prediction_time": [T0, T0]})},
        "at: row 0 labels a subject and prediction time twice",
    ),
    "nothing": (lambda: (), {}, "predict: give either rows, or cohort=FOLDER"),
    "both": (lambda: (rows(),), {"cohort": "/x"}, "predict: give either rows, or cohort=FOLDER"),
    "times": (lambda: (rows(),), {"times": "last"}, "`times` goes with cohort=FOLDER"),
    "at": (lambda: (), {"cohort": "/x", "at": T0}, "`at` goes with rows in memory"),
    "no folder": (lambda: (), {"cohort": "/nowhere/at/all"}, "/nowhere/at/all: is not a folder"),
    "a URL": (lambda: (), {"cohort": "s3://bucket/x"}, "cohort is a URL"),
    "bytes": (
        lambda: (rows(waveform_path=pl.lit(b"x")),),
        {},
        "events: column waveform_path holds bytes; wearable reads files alone",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_does_not_fit_is_refused_in_one_line(model, case):
    arguments, options, says = WRONG[case]
    with pytest.raises(ClintuneError) as caught:
        model.predict(*arguments(), **options)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "oxygen" not in str(caught.value)
    assert isinstance(caught.value, ConfigError | DataError)


@pytest.mark.parametrize(
    ("column", "values"), [("subject_id", [1, "x"]), ("code", ["AGE", 7]), ("ward", [b"a", 1.5])]
)
def test_a_column_of_several_types_is_named(model, column, values):
    plain = {"subject_id": [1, 2], "time": [T0, T0], "code": ["AGE", "AGE"]}
    says = f"events: column {column} has values of several types"
    with pytest.raises(DataError, match=says):
        model.predict(pd.DataFrame(plain | {column: values}))


def test_a_model_without_any_finite_answer_is_refused(model):
    broken = Calibration(
        exclusive=False,
        slope=(float("nan"),),
        intercept=(0.0,),
        floors=((0.0, 0.0),),
        reasons=(None,),
    )
    with pytest.raises(
        PackageError, match=r"tasks\.outcome: the model answers with a finite number for no"
    ):
        replace(model, calibrations={"outcome": broken}).predict(rows())


def test_a_model_trained_for_comparison_only_is_refused(shared_run):
    model = clintune.load(shared_run("model.zero_fill=true", "trainer.max_steps=1"))
    with pytest.raises(ConfigError, match=r"trained with model\.zero_fill; it cannot score"):
        model.predict(rows())
