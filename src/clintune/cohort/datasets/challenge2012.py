"""Import the PhysioNet/CinC Challenge 2012: 48 hours of 12,000 intensive care stays.

The source is Silva et al. (2012). What was charted is `MEASURED//NAME` at its minute after a
made-up admission. Age, gender, height, weight at admission and kind of unit are facts without a
time. -1 means not recorded, of any parameter, and becomes no row; other values stay as they were
charted. SAPS-I, SOFA, length of stay and survival are never events.
"""

from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
from meds.schema import held_out_split, train_split

from clintune.cohort.datasets.facts import FLOAT
from clintune.cohort.datasets.raw import numbers, only, read_raw
from clintune.cohort.shards import CODE, MOMENT, NUMBER, SUBJECT, TEXT, TIME, UNREADABLE
from clintune.cohort.writer import (
    BOOLEAN,
    PREDICTION_TIME,
    write_labels,
    write_splits,
    write_subject_table,
    write_tables,
)
from clintune.core.console import console
from clintune.core.errors import DataError

_HOME = "https://physionet.org/content/challenge-2012/1.0.0/"
_SPLIT_OF_SET = {"a": train_split, "b": held_out_split, "c": held_out_split}
_ADMITTED = datetime(2000, 1, 1)  # noqa: DTZ001 (MEDS times have no zone)
_HOURS = 48
_NOT_RECORDED = -1
_ID, _MINUTE, _NAME, _VALUE = "RecordID", "minute", "parameter", "value"
_FACTS = {"Age": "AGE", "Height": "HEIGHT", "Weight": "WEIGHT"}
_CODED = {
    "Gender": ("GENDER", {0: "F", 1: "M"}),
    "ICUType": ("ICUTYPE", {1: "CORONARY", 2: "CARDIAC_SURGERY", 3: "MEDICAL", 4: "SURGICAL"}),
}
_SHARDS = 6


def import_challenge2012(root: Path, raw: Path) -> None:
    """Write the cohort to `root` from sets a, b and c in `raw`, and their outcomes.

    `_read_set` and `_read_outcomes` say which files these are. Labels, 48 hours after admission:
    mortality (died in hospital) and length_of_stay (days still to come in hospital, of those who
    left it alive). Subjects are the RecordIDs. Set a trains, b and c are held out; the set is a
    group. Raises DataError for a file, column or cell that cannot be read, and for a stay without
    an outcome.
    """
    rows = pl.concat([_read_set(raw, name) for name in _SPLIT_OF_SET])
    outcomes = _read_outcomes(raw)

    # Each stay needs an outcome, and each row a name.
    if strangers := rows.select(pl.col(_ID).unique()).join(outcomes, on=_ID, how="anti").height:
        raise DataError(
            f"{raw}: {strangers} stays have no row among the outcomes; "
            f"download the data set from {_HOME}"
        )

    unnamed = rows[_NAME] == ""
    if unnamed.any():
        console.print(
            f"challenge2012: {unnamed.sum()} rows without a name of what was measured are left out"
        )
    write_tables(root, "challenge2012", _events(rows.filter(~unnamed), raw), shards=_SHARDS)

    _write_labels(root, outcomes)
    sets = dict(outcomes.select(_ID, "set").iter_rows())
    write_splits(root, {stay: _SPLIT_OF_SET[name] for stay, name in sets.items()})
    write_subject_table(root / "metadata/groups.parquet", "set", sets)


def _read_set(raw: Path, name: str) -> pl.DataFrame:
    """Read `set-NAME.parquet`, or the folder `set-NAME` with a file for each stay.

    The columns are RecordID, minute, parameter, value.
    """
    path, folder = raw / f"set-{name}.parquet", raw / f"set-{name}"
    if not path.is_file() and not folder.is_dir():
        raise DataError(
            f"{folder}: is missing; download the data set from {_HOME}, or correct `raw`"
        )

    try:
        table = pl.read_parquet(path, glob=False) if path.is_file() else _read_stays(folder)
    except UNREADABLE as error:
        place = path if path.is_file() else folder
        raise DataError(
            f"{place}: cannot be read ({type(error).__name__}); download it again from {_HOME}"
        ) from error

    # One schema, whatever the writer's types.
    kinds = {_ID: pl.Int64, _MINUTE: pl.Int64, _NAME: pl.String, _VALUE: pl.Float32}
    if missing := [column for column in kinds if column not in table.columns]:
        raise DataError(f"{path}: lacks column {missing[0]}; write it again")
    return table.select(pl.col(column).cast(kind) for column, kind in kinds.items())


def _read_stays(folder: Path) -> pl.DataFrame:
    """Read the text files of a set: Time as HH:MM since admission, Parameter, Value.

    One Parameter of each file is its RecordID.
    """
    files = sorted(folder.glob("*.txt"))
    if not files:
        raise DataError(f"{folder}: holds no .txt file; download the data set from {_HOME}")

    table = pl.scan_csv(files, infer_schema=False, glob=False, include_file_paths="file").collect()
    needed = ("Time", "Parameter", "Value")
    if missing := [column for column in needed if column not in table.columns]:
        raise DataError(
            f"{files[0]}: lacks column {missing[0]}; download the data set again from {_HOME}"
        )

    # Text becomes numbers; what is no number becomes null, and is refused below.
    hour_and_minute = pl.col("Time").str.extract_groups(r"^(\d+):(\d\d)$").struct.unnest()
    clock = hour_and_minute.cast(pl.Int64, strict=False)
    table = table.filter(pl.col("Parameter") != _ID).with_columns(clock)
    found = table.select(
        pl.col("file").str.extract(r"(\d+)\.txt$").cast(pl.Int64, strict=False).alias(_ID),
        (pl.col("1") * 60 + pl.col("2")).alias(_MINUTE),
        pl.col("Parameter").fill_null("").alias(_NAME),
        pl.col("Value").cast(pl.Float32, strict=False).alias(_VALUE),
    )

    for column, written in ((_ID, "file name"), (_MINUTE, "column Time"), (_VALUE, "column Value")):
        if (wrong := found[column].is_null()).any():
            file = Path(table["file"][wrong.arg_true()[0]])
            raise DataError(
                f"{file}: {written} cannot be read in one of its rows; "
                f"download it again from {_HOME}"
            )
    return found


def _events(rows: pl.DataFrame, raw: Path) -> pl.DataFrame:
    """Return facts without a time, and measurements at their minute, as rows of MEDS in order."""
    rows = rows.with_row_index("row")

    # A fact stands at minute 0 before a measurement of the same name: the weight is charted, too.
    is_described = pl.col(_NAME).is_in([*_FACTS, *_CODED]) & (pl.col(_MINUTE) == 0)
    described = rows.filter(is_described).unique([_ID, _NAME], keep="first", maintain_order=True)
    measured = rows.join(described, on="row", how="anti", maintain_order="left")
    recorded = pl.col(_VALUE) != _NOT_RECORDED
    described, measured = described.filter(recorded), measured.filter(recorded)

    moment = pl.lit(_ADMITTED, MOMENT) + pl.duration(minutes=_MINUTE, time_unit="us")
    parts = []
    for name, code in _FACTS.items():
        parts.append(_rows(described.filter(pl.col(_NAME) == name), pl.lit(code)))
    for name, (code, kinds) in _CODED.items():
        cells = described.filter(pl.col(_NAME) == name)
        if not cells[_VALUE].cast(pl.Float64).is_in([float(kind) for kind in kinds]).all():
            raise DataError(
                f"{raw}: {name} of a stay is none of {', '.join(map(str, kinds))}; correct it"
            )
        kind = pl.col(_VALUE).cast(pl.Int64).replace_strict(kinds, return_dtype=pl.String)
        parts.append(_rows(cells, pl.lit(f"{code}//") + kind, value=None))
    parts.append(_rows(measured, pl.lit("MEASURED//") + pl.col(_NAME), moment))
    return pl.concat(parts).sort(SUBJECT, TIME, maintain_order=True)


def _rows(
    cells: pl.DataFrame, code: pl.Expr, moment: pl.Expr | None = None, value: str | None = _VALUE
) -> pl.DataFrame:
    return cells.select(
        pl.col(_ID).alias(SUBJECT),
        (pl.lit(None, MOMENT) if moment is None else moment).alias(TIME),
        code.alias(CODE),
        (pl.lit(None, pl.Float32) if value is None else pl.col(value)).alias(NUMBER),
        pl.lit(None, pl.String).alias(TEXT),
    )


def _read_outcomes(raw: Path) -> pl.DataFrame:
    """Read `outcomes.csv`, or `Outcomes-a.txt` and its like.

    The columns are set, RecordID, died, and days in hospital (null where unknown).
    """
    columns = [_ID, "Length_of_stay", "In-hospital_death"]
    if (raw / "outcomes.csv").is_file():
        tables = [(raw / "outcomes.csv", read_raw(raw / "outcomes.csv", ["set", *columns], _HOME))]
    else:
        tables = []
        for name in _SPLIT_OF_SET:
            path = raw / f"Outcomes-{name}.txt"
            tables.append((path, read_raw(path, columns, _HOME).with_columns(set=pl.lit(name))))

    parts = []
    for path, table in tables:
        # A negative length of stay means that it is unknown.
        days = numbers(table["Length_of_stay"], path)
        in_set = only(table["set"], tuple(_SPLIT_OF_SET), path)
        stays = numbers(table[_ID], path, needed=True).cast(pl.Int64)
        died = numbers(only(table["In-hospital_death"], ("0", "1"), path), path, needed=True) > 0
        known = days.zip_with(days >= 0, pl.Series([None], dtype=pl.Float64))
        parts.append(pl.DataFrame({"set": in_set, _ID: stays, "died": died, "days": known}))
    return pl.concat(parts)


def _write_labels(root: Path, outcomes: pl.DataFrame) -> None:
    """Write both labels.

    The days still to come are unknown of the dead, and of stays that ended before 48 hours.
    """
    keys = outcomes.select(
        pl.col(_ID).alias(SUBJECT),
        pl.lit(_ADMITTED + timedelta(hours=_HOURS), MOMENT).alias(PREDICTION_TIME),
    )
    write_labels(root, "mortality", keys.with_columns(outcomes["died"].alias(BOOLEAN)))

    to_come = pl.col("days") - _HOURS / 24
    known = ~pl.col("died") & (to_come >= 0)
    days = outcomes.select(pl.when(known).then(to_come).cast(pl.Float32).alias(FLOAT)).to_series()
    write_labels(root, "length_of_stay", keys.with_columns(days))
