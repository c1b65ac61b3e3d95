from datetime import datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from clintune.cohort.datasets.covid_cxr import import_covid_cxr
from clintune.cohort.index import SampleIndex
from clintune.cohort.splits import fold_splits, read_folds
from clintune.config.schema import Cohort
from clintune.core.errors import DataError
from clintune.modalities.base import has_code
from clintune.tasks.binary import Binary

HEADER = (
    "patientid,offset,sex,age,finding,survival,intubated,went_icu,in_icu,temperature,"
    "pO2_saturation,leukocyte_count,neutrophil_count,lymphocyte_count,view,modality,location,"
    "license,filename,clinical_notes,other_notes"
)
ROWS = (
    '97,0,M,65,COVID-19,Y,N,N,N,38.2,,,,,PA,X-ray,Hanoi,CC BY,a.jpg,"Fever, café.",secret-other',
    (
        "97,0,M,65,todo,?,Not visible,Would have been stated,Y,,,7.4,,,"
        "AP Supine,X-ray,Hanoi,CC BY,b.png,,secret-other"
    ),
    '311a,?,,,"COVID-19, ARDS",N,Y,Y,Y,,90,,,,?,X-ray,,secret-licence,c.jpg,Worse.,',
    "178,,F,,Pneumonia,,,,,,,,,,,X-ray,Oslo,,d.jpg,,",
)
NEVER = ("secret", "Hanoi", "Oslo", ".jpg,")


def write_raw(raw, rows=ROWS, header=HEADER):
    (raw / "images").mkdir(parents=True)
    for name in ("a.jpg", "b.png", "c.jpg", "d.jpg"):
        Image.new("L", (4, 4)).save(raw / "images" / name)
    (raw / "metadata.csv").write_text("\n".join([header, *rows]), encoding="utf-8")
    (raw / "folds.csv").write_text("patientid,fold\n97,1\n178,1\n311a,0\n")
    return raw


def read_events(root):
    return pl.read_parquet(root / "data/0.parquet")


def test_each_row_is_a_sample_of_its_own_with_its_own_items(tmp_path):
    root = tmp_path / "cohort"
    import_covid_cxr(root, write_raw(tmp_path / "raw"))

    class Every:
        media_column = "image_path"

        def row_filter(self):
            return has_code(
                ["IMAGE//", "NOTE//", "VIEW//", "SEX//", "AGE", "TEMPERATURE", "SPO2", "LEUKOCYTES"]
            )

    tasks = {
        label: Binary(label=label) for label in ("went_icu", "survival", "intubated", "finding")
    }
    cohort = Cohort(root=str(root), lookback_hours=0)
    index = SampleIndex.open("covid", cohort, {"every": Every()}, tasks, tmp_path / "cache")
    # The second row of patient 97 has no known label.
    # Ids run in the order of the patients' names: 178, 311a, 97.
    assert index.subject_ids.tolist() == [1, 2, 3]
    severe, mild = (
        list(index.rows["every"].read(*index.seen("every", np.array([row]))[:2])) for row in (1, 2)
    )
    targets = {task: index.targets(task)[:, 0].tolist() for task in tasks}
    assert [item.code for item in mild] == [
        "IMAGE//CXR", "NOTE//CLINICAL", "AGE", "TEMPERATURE", "SEX//M", "VIEW//PA",
    ]  # fmt: skip
    assert mild[1].text == "Fever, café."
    assert {item.hours for item in mild} == {0.0}
    assert [item.code for item in severe] == ["IMAGE//CXR", "NOTE//CLINICAL", "SPO2"]
    assert [values[1] for values in targets.values()] == [1.0] * 4
    assert {task: values[2] for task, values in targets.items()} == {
        "went_icu": 0, "survival": 0, "intubated": 0, "finding": 1,
    }  # fmt: skip
    assert targets["finding"][0] == 0


def test_rows_of_one_day_get_moments_of_their_own(tmp_path):
    import_covid_cxr(tmp_path / "cohort", write_raw(tmp_path / "raw"))
    images = read_events(tmp_path / "cohort").filter(pl.col("code") == "IMAGE//CXR")
    first = datetime(2000, 1, 1)
    assert images["time"].to_list() == [first, first, first, datetime(2000, 1, 1, 0, 1)]
    assert images["subject_id"].to_list() == [1, 2, 3, 3]
    assert all((tmp_path / "cohort" / path).is_file() for path in images["image_path"])


def test_what_names_source_or_outcome_never_becomes_an_event(tmp_path):
    import_covid_cxr(tmp_path / "cohort", write_raw(tmp_path / "raw"))
    text = read_events(tmp_path / "cohort").write_csv()
    assert not [word for word in NEVER if word in text]


def test_pairs_that_share_images_are_linked_and_folds_keep_them(tmp_path):
    root = tmp_path / "cohort"
    import_covid_cxr(root, write_raw(tmp_path / "raw"))
    linked = pl.read_parquet(root / "metadata/linked_subjects.parquet")
    assert linked["subject_id"].to_list() == [1, 3]
    assert linked["unit"].n_unique() == 1
    sites = pl.read_parquet(root / "metadata/groups.parquet")
    assert set(sites["site"]) == {"other"}


@pytest.mark.parametrize(
    ("rows", "header", "message"),
    [
        ([ROWS[0].replace(",65,", ",old,")], HEADER, "row 0: column age is not a number"),
        (
            [ROWS[3], ROWS[0].replace("97,0,", "97,soon,")],
            HEADER,
            "row 1: column offset is not a number",
        ),
        ([ROWS[0].replace("a.jpg", "z.jpg")], HEADER, "row 0: column filename names no file"),
        (
            [ROWS[0].replace("a.jpg", "../folds.csv")],
            HEADER,
            "row 0: column filename names no file",
        ),
        ([ROWS[0][2:]], HEADER, "row 0: column patientid is empty"),
        ([ROWS[0].replace("97,", "98,", 1)], HEADER, "1 patients of metadata.csv have no fold"),
        (ROWS, HEADER.replace("went_icu", "icu"), r"metadata\.csv: lacks column went_icu"),
    ],
)
def test_bad_input_is_answered_with_file_row_and_column(tmp_path, rows, header, message):
    with pytest.raises(DataError, match=message) as caught:
        import_covid_cxr(tmp_path / "cohort", write_raw(tmp_path / "raw", rows, header))
    assert "\n" not in str(caught.value)


def test_a_missing_table_is_named(tmp_path):
    with pytest.raises(DataError, match=r"metadata\.csv: is missing"):
        import_covid_cxr(tmp_path / "cohort", tmp_path)


def test_the_real_data_have_the_published_counts(tmp_path, real_data):
    root = tmp_path / "cohort"
    import_covid_cxr(root, real_data / "covid_cxr")
    tasks = {
        label: Binary(label=label) for label in ("went_icu", "survival", "intubated", "finding")
    }
    index = SampleIndex.open(
        "covid", Cohort(root=str(root), lookback_hours=0), {}, tasks, tmp_path / "cache"
    )
    known = {task: int((index.targets(task) >= 0).sum()) for task in tasks}
    assert known == {"went_icu": 270, "survival": 223, "intubated": 165, "finding": 489}
    positive = {task: int((index.targets(task) == 1).sum()) for task in tasks}
    assert positive == {"went_icu": 193, "survival": 45, "intubated": 102, "finding": 396}
    folds = read_folds(Path("metadata/folds.parquet"), index)
    assert set(folds.tolist()) == {0, 1, 2, 3, 4}
    assert {str(split) for split in fold_splits(index, folds, 0, 0.1, 0)} == {
        "train",
        "tuning",
        "held_out",
    }


def test_the_set_as_it_is_downloaded_is_read_without_slices(tmp_path):
    slices = "500,0,F,50,COVID-19,Y,N,N,N,,,,,,Axial,CT,Hanoi,CC BY,volume.nii.gz,,"
    raw = write_raw(tmp_path / "raw", [slices, *ROWS])
    (raw / "folds.csv").unlink()
    import_covid_cxr(tmp_path / "cohort", raw)

    events = read_events(tmp_path / "cohort")
    assert len(events.filter(pl.col("code") == "IMAGE//CXR")) == len(ROWS)
    folds = pl.read_parquet(tmp_path / "cohort/metadata/folds.parquet").sort("subject_id")
    assert folds["subject_id"].to_list() == [1, 2, 3]
    # Patients 178 and 97 have the same images and stay together.
    # Numbers run in the order of names.
    assert folds["fold"][0] == folds["fold"][2] != folds["fold"][1]


def test_a_set_that_is_not_there_says_where_it_is(tmp_path):
    with pytest.raises(
        DataError,
        match=r"metadata.csv: is missing; download the data set from https://.*, or correct",
    ):
        import_covid_cxr(tmp_path / "cohort", tmp_path / "raw")
