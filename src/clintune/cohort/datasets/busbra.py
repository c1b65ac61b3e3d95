"""Import BUS-BRA: ultrasound images of breast lesions, their BI-RADS category and biopsy results.

Each image is a sample with its own moment: with a look-back of 0 hours, it sees itself alone. Only
the image is an event. Histology is the answer, the category is a radiologist's reading of the same
image, and a radiologist drew the box. The device tells something of both; it is a group for
reports.
"""

import shutil
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from clintune.cohort.datasets.facts import CATEGORY, FOLDS_FILE
from clintune.cohort.datasets.raw import numbers, only, read_raw
from clintune.cohort.shards import SUBJECT
from clintune.cohort.splits import assign_balanced
from clintune.cohort.writer import (
    BOOLEAN,
    PREDICTION_TIME,
    Events,
    write_labels,
    write_subject_table,
    write_tables,
)
from clintune.core.errors import DataError

_HOME = "https://zenodo.org/records/8231412"
_DAY_0 = datetime(2000, 1, 1)  # noqa: DTZ001 (MEDS times have no zone)
_CATEGORIES = ("2", "3", "4", "5")
_PATHOLOGY = ("benign", "malignant")
_NUM_FOLDS = 5
_FEWEST_OF_DEVICE = 11
"""The fewest patients of a device that is named: smaller counts are not reported."""


def import_busbra(root: Path, raw: Path) -> None:
    """Write the cohort to `root` from `bus_data.csv` in `raw` and the images that it names.

    Labels, by image: birads (2, 3, 4 or 5) and malignant. Images are those of the column `file`, or
    `Images/ID.png` without that column. Folds are those of the column `fold`, or drawn by patient.
    Raises DataError for a file, column or cell that cannot be read.
    """
    path = raw / "bus_data.csv"
    columns = ["ID", "Case", "Pathology", "BIRADS", "Device"]
    rows = read_raw(path, columns, _HOME, optional=("file", "fold"))
    cases = numbers(rows["Case"], path, needed=True).cast(pl.Int64)
    only(rows["BIRADS"], _CATEGORIES, path, needed=True)
    only(rows["Pathology"], _PATHOLOGY, path, needed=True)

    # Each image of a patient has a minute of its own.
    events = Events(media=["image_path"])
    images = _images(raw, path, rows)
    place = cases.to_frame().select(pl.int_range(pl.len()).over("Case")).to_series()
    moments = [_DAY_0 + timedelta(minutes=minute) for minute in place]
    for row, (case, moment, image) in enumerate(zip(cases, moments, images, strict=True)):
        target = root / "images" / f"{row:06d}{image.suffix.lower()}"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(image, target)
        name = target.relative_to(root).as_posix()
        events.add(case, moment, "IMAGE//ULTRASOUND", image_path=name)
    write_tables(root, "busbra", events.table())

    keys = pl.DataFrame({SUBJECT: cases, PREDICTION_TIME: moments})
    write_labels(root, "birads", keys.with_columns(rows["BIRADS"].alias(CATEGORY)))
    is_malignant = (rows["Pathology"] == "malignant").alias(BOOLEAN)
    write_labels(root, "malignant", keys.with_columns(is_malignant))
    _write_metadata(root, path, rows, cases)


def _images(raw: Path, path: Path, rows: pl.DataFrame) -> list[Path]:
    """Return the file of each row; DataError for one that is missing, or lies outside `raw`."""
    column = "file" if "file" in rows.columns else "ID"
    names = [name or "" if column == "file" else f"Images/{name}.png" for name in rows[column]]
    for row, name in enumerate(names):
        image = raw / name
        is_within = image.resolve().is_relative_to(raw.resolve())
        if not name or not is_within or not image.is_file():
            raise DataError(
                f"{path}: row {row}: column {column} names no image in {raw}; "
                f"download it from {_HOME}"
            )
    return [raw / name for name in names]


def _write_metadata(root: Path, path: Path, rows: pl.DataFrame, cases: pl.Series) -> None:
    """Write the fold and the device of each patient."""
    if "fold" in rows.columns:
        folds = numbers(rows["fold"], path, needed=True).cast(pl.Int64)
    else:
        _, patient = np.unique(cases.to_numpy(), return_inverse=True)
        worst = numbers(rows["BIRADS"], path).cast(pl.Float32).to_numpy()[:, None]
        draws = np.random.default_rng(0).random(patient.max() + 1)
        folds = pl.Series(assign_balanced(patient, draws, _NUM_FOLDS, worst))

    # One row a patient, who must be in one fold.
    by_patient = pl.DataFrame({SUBJECT: cases, "fold": folds, "device": rows["Device"]})
    by_patient = by_patient.group_by(SUBJECT, maintain_order=True).agg(
        pl.col("fold").first(),
        pl.col("fold").n_unique().alias("num_folds"),
        pl.col("device").first(),
    )
    if (parted := by_patient["num_folds"] > 1).any():
        raise DataError(
            f"{path}: column fold puts {parted.sum()} patients into several folds; give each one"
        )

    # Devices of few patients go by one name.
    few, device = pl.len().over("device") < _FEWEST_OF_DEVICE, pl.col("device")
    named = pl.when(few).then(pl.lit("other")).otherwise(device).alias("device")
    by_patient = by_patient.with_columns(named)

    fold_of = dict(by_patient.select(SUBJECT, "fold").iter_rows())
    write_subject_table(root / FOLDS_FILE, "fold", fold_of)
    device_of = dict(by_patient.select(SUBJECT, "device").iter_rows())
    write_subject_table(root / "metadata/groups.parquet", "device", device_of)
