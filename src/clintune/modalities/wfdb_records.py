"""Recordings as WFDB records: a header, and the signal files or segments that it names."""

import warnings
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clintune.cohort.records import is_beside, names_in, record_files
from clintune.core.errors import ConfigError, DataError


@dataclass(frozen=True, kw_only=True, slots=True)
class WfdbRecord:
    """The signals of a record in physical units, NaN in gaps, each [T] float32 at its own `rates`, and their names."""

    signals: list[NDArray[np.float32]]
    rates: list[float]
    names: list[str]
    start: datetime | None


def read_record(header: Path, where: str) -> WfdbRecord:
    """Read a record; raises DataError, naming `where`, for files that are missing or outside the header's folder.

    A signal without a name is called after its place, as `signal 0`. Segments stand one after the other, with gaps in
    between. Raises ConfigError where wfdb is not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of its own use of pandas
            import wfdb
    except ImportError as error:
        raise ConfigError("reading WFDB records needs wfdb; pip install clintune[wfdb]") from error
    _check_files(header, where)
    _check_segments(wfdb.rdheader(str(header.with_suffix("")), rd_segments=True), where)

    record = wfdb.rdrecord(str(header.with_suffix("")), smooth_frames=False)
    if not record.n_sig:
        raise DataError(
            f"{where}: the recording's header names no signal; restore it or drop the row"
        )
    signals = [np.asarray(signal, np.float32) for signal in record.e_p_signal]
    return WfdbRecord(
        signals=signals,
        rates=[float(record.fs) * number for number in record.samps_per_frame],
        names=[name or f"signal {place}" for place, name in enumerate(record.sig_name)],
        start=record.base_datetime,
    )


def _check_files(header: Path, where: str) -> None:
    for file in record_files(header):
        if not file.is_file():
            raise DataError(
                f"{where}: a file that the recording's header names is missing; restore it or drop the row"
            )
        if file.suffix == header.suffix and not all(map(is_beside, names_in(file))):
            raise DataError(
                f"{where}: the recording's header names a file outside its folder; move it there"
            )


def _check_segments(record: Any, where: str) -> None:
    """Raise DataError for segments that do not fit one after the other: wfdb joins them as if they did."""
    segments = [
        segment for segment in getattr(record, "segments", None) or [] if segment is not None
    ]
    if any(segment.fs != record.fs for segment in segments):
        raise DataError(
            f"{where}: the recording has segments of several rates; save each as a recording of its own"
        )
    if (
        segments
        and record.layout == "fixed"
        and any(part.sig_name != segments[0].sig_name for part in segments)
    ):
        raise DataError(
            f"{where}: the recording has segments of several channels; give it a layout segment"
        )

    units: dict[str, str] = {}
    for segment in segments:
        for name, unit in zip(segment.sig_name or [], segment.units or [], strict=True):
            if name is not None and units.setdefault(name, unit) != unit:
                raise DataError(
                    f"{where}: the recording has a channel in several units; write it in one"
                )
