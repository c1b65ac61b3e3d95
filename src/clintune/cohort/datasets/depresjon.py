"""Import wrist actigraphy of patients with depression and of controls (Garcia-Ceja et al., 2018).

The recordings give the class away by their length, their season and their gaps. So none of the
three is kept: each person is cut into windows of equal length, from midnight to midnight within the
official days. Dates count from 2000-01-01. A window with a gap is left out (only controls have
gaps, where clocks changed).
"""

from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from clintune.cohort.datasets.raw import number, read_raw
from clintune.cohort.shards import SUBJECT
from clintune.cohort.writer import (
    BOOLEAN,
    PREDICTION_TIME,
    Events,
    write_labels,
    write_signal,
    write_tables,
)
from clintune.core.errors import DataError

_HOME = "https://datasets.simula.no/depresjon"
_DAY = 1440
_DAY_0 = datetime(2000, 1, 1)  # noqa: DTZ001 (MEDS times have no zone)
_SEX = {"1": "F", "2": "M"}
_GROUPS = {"condition": True, "control": False}


def import_depresjon(root: Path, raw: Path, window_days: int) -> None:
    """Write the cohort to `root` from `scores/scores.csv` and the recordings in `raw`.

    Label: depression. Each window of `window_days` is a sample, predicted at its end. Raises
    DataError for a file, column or cell that cannot be read, and for a person without a whole
    window.
    """
    path = raw / "scores" / "scores.csv"
    scores = read_raw(path, ["name", "days", "gender", "age"], _HOME)
    events = Events(media=["waveform_path"])
    labels: list[tuple[int, datetime, bool]] = []
    ids: dict[str, int] = {}

    for row, (name, days, gender, age) in enumerate(scores.iter_rows()):
        group = (name or "").split("_")[0]
        if group not in _GROUPS or gender not in _SEX:
            column = "name" if group not in _GROUPS else "gender"
            raise DataError(
                f"{path}: row {row}: column {column} holds no value of the data set; correct it"
            )

        subject = ids[name] = len(ids) + 1
        events.add(subject, None, f"SEX//{_SEX[gender]}")
        events.add(subject, None, "AGE", numeric_value=_middle(age, path, row))

        # Each window is a sample, predicted at its end.
        recording = raw / group / f"{name}.csv"
        num_days = int(number(days, path, row, "days") or 0)
        ends = _add_windows(root, events, subject, recording, num_days, window_days)
        labels += [(subject, end, _GROUPS[group]) for end in ends]

    write_tables(root, "depresjon", events.table())
    table = pl.DataFrame(labels, schema=[SUBJECT, PREDICTION_TIME, BOOLEAN], orient="row")
    write_labels(root, "depression", table)


def _add_windows(
    root: Path, events: Events, subject: int, recording: Path, num_days: int, window_days: int
) -> list[datetime]:
    """Write the whole windows of a recording as signals; return the end of each.

    Raises DataError where there is none.
    """
    windows = _windows(_read_minutes(recording), num_days, window_days)
    if not windows:
        raise DataError(
            f"{recording}: has no whole window of {window_days} days; make window_days smaller"
        )

    ends = []
    for place, window in windows:
        start = _DAY_0 + timedelta(days=place * window_days)
        ends.append(start + timedelta(days=window_days))
        signal = root / "signals" / f"{subject:03d}_{place}.npz"
        write_signal(signal, window[None], 1 / 60, start, ["activity"])
        name = signal.relative_to(root).as_posix()
        events.add(subject, ends[-1], "ACTIGRAPHY", waveform_path=name)
    return ends


def _middle(band: str | None, path: Path, row: int) -> float:
    """Return the middle of an age band such as `35-39`."""
    bounds = [number(part, path, row, "age") for part in (band or "").split("-")]
    known = [bound for bound in bounds if bound is not None]
    if len(known) != 2:
        raise DataError(f"{path}: row {row}: column age is no band of years; write it as 35-39")
    return sum(known) / 2


def _read_minutes(path: Path) -> tuple[datetime, NDArray[np.float32]]:
    """Read a recording: its first minute, and one count for each minute since, NaN in gaps.

    Minutes are those of the wall clock. Raises DataError for a cell that cannot be read.
    """
    table = read_raw(path, ["timestamp", "activity"], _HOME)
    if table.is_empty():
        raise DataError(f"{path}: has no row; download the data set again from {_HOME}")

    # Some files write the day first. The separator tells it, because 7/5 could be either.
    iso = "-" in (table["timestamp"][0] or "")
    pattern = "%Y-%m-%d %H:%M:%S" if iso else "%d/%m/%Y %H:%M"
    times = table["timestamp"].str.to_datetime(pattern, strict=False)
    counts = table["activity"].cast(pl.Float32, strict=False)
    for column, values in (("timestamp", times), ("activity", counts)):
        if values.null_count():
            row = values.is_null().arg_true()[0]
            raise DataError(f"{path}: row {row}: column {column} cannot be read; correct it")

    minutes = (times - times[0]).dt.total_minutes().to_numpy()
    if minutes.min() < 0:
        raise DataError(
            f"{path}: row {minutes.argmin()}: column timestamp lies before the first row; "
            "sort the rows"
        )

    signal = np.full(minutes.max() + 1, np.nan, np.float32)
    signal[minutes] = counts.to_numpy()
    return times[0], signal


def _windows(
    recording: tuple[datetime, NDArray[np.float32]], num_days: int, window_days: int
) -> list[tuple[int, NDArray[np.float32]]]:
    """Return the whole windows without a gap, each with its place.

    They are cut from the first midnight on, within the official days.
    """
    first, signal = recording
    midnight = -(first.hour * 60 + first.minute) % _DAY
    length = window_days * _DAY
    official = signal[midnight : midnight + num_days * _DAY]
    windows = [official[at : at + length] for at in range(0, len(official) - length + 1, length)]
    return [(place, window) for place, window in enumerate(windows) if not np.isnan(window).any()]
