"""Import chest X-rays with notes, labs and outcomes of pneumonias (Cohen et al., 2020).

COVID-19 is one of them. Each row of `metadata.csv` becomes a sample with its own moment, and all
that the row states stands at that moment: with a look-back of 0 hours, a sample sees its own row
and no other. Columns that name the source or the outcome (location, licence, file name, `in_icu`,
...) never become events.
"""

import shutil
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from clintune.cohort.datasets.raw import number, read_raw
from clintune.cohort.linked import LINKED_FILE
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

_HOME = "https://github.com/ieee8023/covid-chestxray-dataset"
_NUM_FOLDS = 5
_DAY_0 = datetime(2000, 1, 1)  # noqa: DTZ001 (MEDS times have no zone)
_FACTS = {
    "age": "AGE",
    "offset": "OFFSET_DAYS",
    "temperature": "TEMPERATURE",
    "pO2_saturation": "SPO2",
    "leukocyte_count": "LEUKOCYTES",
    "neutrophil_count": "NEUTROPHILS",
    "lymphocyte_count": "LYMPHOCYTES",
}
_CODED = {"sex": "SEX", "view": "VIEW"}
_YES = {"Y": True, "N": False}
_OUTCOMES = {"went_icu": _YES, "survival": {"N": True, "Y": False}, "intubated": _YES}
"""Column -> cell -> whether it is positive; other cells, as `?` or `Not visible`, are unknown."""
_UNKNOWN = ("?",)
_SAME_IMAGES = (("97", "178"), ("78", "201"), ("137", "202"), ("192", "196"))
"""Patients whose images are the same or nearly so; each pair stays in one split."""
_SMALLEST_SITE = 11
"""The fewest patients of a site that is named: smaller counts are not reported."""
_NAMED = ("patientid", "filename", "clinical_notes", "location", "finding")


def import_covid_cxr(root: Path, raw: Path) -> None:
    """Write the cohort to `root` from `metadata.csv` and `images/` in `raw`.

    CT slices and volumes are left out. Labels: went_icu (positive Y), survival (positive: died),
    intubated (Y), finding (contains COVID-19). Folds, sites and the meaning of ids go to
    `metadata/`; the folds are those of `folds.csv` (patientid, fold) where `raw` has that file.
    Raises DataError for a file, column or cell that cannot be read.
    """
    path = raw / "metadata.csv"
    columns = [*_NAMED, *_OUTCOMES, *_FACTS, *_CODED, "modality"]
    rows = read_raw(path, columns, _HOME).with_row_index("row")
    rows = rows.filter(modality="X-ray")
    if rows["patientid"].null_count():
        row = rows.filter(pl.col("patientid").is_null())["row"][0]
        raise DataError(f"{path}: row {row}: column patientid is empty; fill it")

    # Subjects are numbered in the order of the patients' names.
    patients = sorted(set(rows["patientid"]))
    ids = {patient: number for number, patient in enumerate(patients, start=1)}
    moments = _moments(rows, path)

    events = Events(media=["image_path"])
    for cells, moment in zip(rows.iter_rows(named=True), moments, strict=True):
        image = _copy_image(root, raw, cells["filename"], path, cells["row"])
        events.add(ids[cells["patientid"]], moment, "IMAGE//CXR", image_path=image)
        _add_cells(events, ids[cells["patientid"]], moment, cells, path)

    write_tables(root, "covid_cxr", events.table())
    _write_labels(root, rows, ids, moments)
    _write_metadata(root, raw, rows, ids)


def _add_cells(
    events: Events, subject: int, moment: datetime, cells: dict[str, Any], path: Path
) -> None:
    """Add the note, the numbers and the classes of a row."""
    if cells["clinical_notes"]:
        events.add(subject, moment, "NOTE//CLINICAL", text_value=cells["clinical_notes"])

    for column, code in _FACTS.items():
        value = number(cells[column], path, cells["row"], column, _UNKNOWN)
        if value is not None:
            events.add(subject, moment, code, numeric_value=value)

    for column, code in _CODED.items():
        if cells[column] and cells[column] not in _UNKNOWN:
            events.add(subject, moment, f"{code}//{cells[column]}")


def _moments(rows: pl.DataFrame, path: Path) -> list[datetime]:
    """Give each row its own moment: its day, and one minute for each earlier row of that day."""
    taken: dict[tuple[str, float], int] = {}
    moments = []
    for row, patient, offset in rows.select("row", "patientid", "offset").iter_rows():
        day = number(offset, path, row, "offset", _UNKNOWN) or 0.0
        minute = taken[patient, day] = taken.get((patient, day), -1) + 1
        moments.append(_DAY_0 + timedelta(days=day, minutes=minute))
    return moments


def _copy_image(root: Path, raw: Path, name: str | None, path: Path, row: int) -> str:
    """Copy an image under a name that tells nothing; return its path relative to the root."""
    source = raw / "images" / (name or "")
    if not name or Path(name).name != name or not source.is_file():
        raise DataError(
            f"{path}: row {row}: column filename names no file in {raw / 'images'}; "
            f"download it again from {_HOME}"
        )

    target = root / "images" / f"{row:06d}{source.suffix.lower()}"
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    return target.relative_to(root).as_posix()


def _write_labels(
    root: Path, rows: pl.DataFrame, ids: dict[str, int], moments: list[datetime]
) -> None:
    """Write the labels of each row; unknown ones are left out."""
    keys = {SUBJECT: [ids[patient] for patient in rows["patientid"]], PREDICTION_TIME: moments}
    values: dict[str, list[bool | None]] = {}
    for outcome, meaning in _OUTCOMES.items():
        values[outcome] = [meaning.get(cell) for cell in rows[outcome]]
    values["finding"] = [
        None if cell in (None, "?", "todo") else "COVID-19" in cell for cell in rows["finding"]
    ]

    for outcome, known in values.items():
        table = pl.DataFrame({**keys, BOOLEAN: pl.Series(known, dtype=pl.Boolean)})
        write_labels(root, outcome, table.drop_nulls())


def _write_metadata(root: Path, raw: Path, rows: pl.DataFrame, ids: dict[str, int]) -> None:
    """Write the meaning of ids, linked patients, folds and sites."""
    metadata = root / "metadata"
    identity = pl.DataFrame({"patientid": list(ids), SUBJECT: list(ids.values())})
    identity.write_parquet(metadata / "subject_ids.parquet")

    # Patients with the same images are one unit.
    pairs = [pair for pair in _SAME_IMAGES if set(pair) <= set(ids)]
    linked = {ids[patient]: ids[pair[0]] for pair in pairs for patient in pair}
    write_subject_table(root / LINKED_FILE, "unit", linked)

    # Folds are those of a file, or drawn.
    path = raw / "folds.csv"
    folds = _read_folds(path, ids) if path.is_file() else _draw_folds(ids, linked)
    write_subject_table(metadata / "folds.parquet", "fold", folds)

    # Sites of few patients go by one name.
    by_site = rows.select("patientid", "location").iter_rows()
    sites = {patient: site for patient, site in by_site if site}
    counts = pl.Series(list(sites.values())).value_counts()
    named = {site for site, count in counts.iter_rows() if count >= _SMALLEST_SITE}
    site_of = {ids[name]: sites[name] if sites.get(name) in named else "other" for name in ids}
    write_subject_table(metadata / "groups.parquet", "site", site_of)


def _read_folds(path: Path, ids: dict[str, int]) -> dict[int, int]:
    """Return the fold of each subject as a file has it; DataError where one has none."""
    folds = read_raw(path, ["patientid", "fold"], _HOME)
    fold_of = {}
    for row, (patient, fold) in enumerate(folds.iter_rows()):
        fold_of[patient] = number(fold, path, row, "fold")

    missing = [patient for patient in ids if fold_of.get(patient) is None]
    if missing:
        raise DataError(
            f"{path}: {len(missing)} patients of metadata.csv have no fold; add a row for each"
        )
    return {ids[name]: int(fold_of[name] or 0) for name in ids}


def _draw_folds(ids: dict[str, int], linked: dict[int, int]) -> dict[int, int]:
    """Draw five folds of about as many subjects each, in which linked ones stay together."""
    units = [linked.get(subject, subject) for subject in ids.values()]
    distinct, unit_of_subject = np.unique(units, return_inverse=True)
    draws = np.random.default_rng(0).random(len(distinct))
    folds = assign_balanced(unit_of_subject, draws, _NUM_FOLDS)
    return dict(zip(ids.values(), folds.tolist(), strict=True))
