from datetime import datetime

import polars as pl
import pytest
from PIL import Image

from clintune.cohort.datasets.busbra import import_busbra
from clintune.core.errors import DataError

HEADER = "ID,Case,Histology,Pathology,BIRADS,Device,Side,fold,file"
TWO_VIEWS = [
    "bus_1-l,1,secret,malignant,4,Logiq,left,3,images/a.jpg",
    "bus_1-r,1,secret,malignant,5,Logiq,right,3,images/b.jpg",
]
SINGLE = "bus_{0}-s,{0},secret,benign,{1},Toshiba,single,{2},images/c.jpg"
ROWS = TWO_VIEWS + [SINGLE.format(case, 2 + case % 2, case % 5 + 1) for case in range(2, 14)]


def write_raw(raw, rows=ROWS, header=HEADER):
    (raw / "images").mkdir(parents=True)
    for name in "abc":
        Image.new("L", (8, 8), ord(name)).save(raw / "images" / f"{name}.jpg")
    (raw / "bus_data.csv").write_text("\n".join([header, *rows]))
    return raw


def test_each_image_is_a_sample_whose_name_tells_nothing(tmp_path):
    import_busbra(tmp_path / "cohort", write_raw(tmp_path / "raw"))
    events = pl.read_parquet(tmp_path / "cohort/data/0.parquet")
    assert events["time"].to_list()[:3] == [
        datetime(2000, 1, 1),
        datetime(2000, 1, 1, 0, 1),
        datetime(2000, 1, 1),
    ]
    assert set(events["code"]) == {"IMAGE//ULTRASOUND"}
    assert not [
        word
        for word in ("secret", "malignant", "Logiq", "left", "bus_")
        if word in events.write_csv()
    ]
    assert all((tmp_path / "cohort" / path).is_file() for path in events["image_path"])
    labels = pl.read_parquet(tmp_path / "cohort/labels/birads.parquet")
    assert (
        labels.select("subject_id", "prediction_time").rows()
        == events.select("subject_id", "time").rows()
    )
    assert labels["categorical_value"].to_list()[:4] == ["4", "5", "2", "3"]
    assert pl.read_parquet(tmp_path / "cohort/labels/malignant.parquet")["boolean_value"].sum() == 2


def test_official_folds_are_kept_and_rare_devices_not_named(tmp_path):
    import_busbra(tmp_path / "cohort", write_raw(tmp_path / "raw"))
    folds = pl.read_parquet(tmp_path / "cohort/metadata/folds.parquet")
    assert folds.rows()[:3] == [(1, 3), (2, 3), (3, 4)]
    devices = pl.read_parquet(tmp_path / "cohort/metadata/groups.parquet")
    assert devices["device"].to_list() == ["other", *["Toshiba"] * 12]


def test_the_set_as_it_is_downloaded_has_folds_by_patient(tmp_path):
    raw = write_raw(
        tmp_path / "raw", [row.rsplit(",", 2)[0] for row in ROWS], HEADER.rsplit(",", 2)[0]
    )
    (raw / "Images").mkdir()
    for row in ROWS:
        Image.new("L", (8, 8)).save(raw / "Images" / f"{row.split(',')[0]}.png")
    import_busbra(tmp_path / "cohort", raw)
    folds = pl.read_parquet(tmp_path / "cohort/metadata/folds.parquet")
    assert folds["subject_id"].to_list() == list(range(1, 14))
    assert sorted(folds["fold"].value_counts()["count"]) == [2, 2, 3, 3, 3]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (ROWS[0].replace(",4,", ",6,"), "row 0: column BIRADS holds no value of the data set"),
        (
            ROWS[0].replace("malignant", "unclear"),
            "row 0: column Pathology holds no value of the data set",
        ),
        (ROWS[0].replace(",1,", ",one,", 1), "row 0: column Case is not a number"),
        (ROWS[0].replace("a.jpg", "z.jpg"), "row 0: column file names no image"),
        (ROWS[0].replace("images/a.jpg", "../raw2/a.jpg"), "row 0: column file names no image"),
        (ROWS[0].replace(",3,", ",4,"), "column fold puts 1 patients into several folds"),
        (ROWS[0].replace(",4,", ",,"), "row 0: column BIRADS is empty"),
        (ROWS[0].replace("malignant", ""), "row 0: column Pathology is empty"),
    ],
)
def test_bad_input_is_answered_with_file_row_and_column(tmp_path, row, message):
    with pytest.raises(DataError, match=rf"bus_data\.csv: {message}") as caught:
        import_busbra(tmp_path / "cohort", write_raw(tmp_path / "raw", [row, *ROWS[1:]]))
    assert "\n" not in str(caught.value)


def test_the_real_data_have_the_published_counts(tmp_path, real_data):
    import_busbra(tmp_path / "cohort", real_data / "busbra")
    labels = pl.read_parquet(tmp_path / "cohort/labels/birads.parquet")
    assert (len(labels), labels["subject_id"].n_unique()) == (1875, 1064)
    counts = dict(labels["categorical_value"].value_counts().iter_rows())
    assert counts == {"2": 562, "3": 463, "4": 693, "5": 157}
    assert (
        pl.read_parquet(tmp_path / "cohort/labels/malignant.parquet")["boolean_value"].sum() == 607
    )
