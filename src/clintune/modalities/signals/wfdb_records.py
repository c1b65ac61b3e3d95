"""Read WFDB records: a header, and the signal files or segments that it names."""

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
    """A record: each signal [T] float32 in physical units, NaN in gaps, at its own rate in Hz."""

    signals: list[NDArray[np.float32]]
    rates: list[float]
    names: list[str]
    start: datetime | None


def read_record(header: Path, where: str) -> WfdbRecord:
    """Read a record.

    A signal without a name is called after its place, as `signal 0`. Segments stand one after the
    other, with gaps in between. Raises DataError naming `where` for files that are missing or
    outside the header's folder, and ConfigError where wfdb is not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of wfdb's own use of pandas
            import wfdb
    except ImportError as error:
        raise ConfigError("reading WFDB records needs wfdb; pip install clintune[wfdb]") from error

    # Check the files before wfdb follows the header to them.
    _check_files(header, where)
    _check_segments(wfdb.rdheader(str(header.with_suffix("")), rd_segments=True), where)

    # Read each signal at its own rate.
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
    """Raise DataError for files of a record that are missing or outside its folder."""
    for file in record_files(header):
        if not file.is_file():
            raise DataError(
                f"{where}: a file that the recording's header names is missing; "
                "restore it or drop the row"
            )
        if file.suffix == header.suffix and not all(map(is_beside, names_in(file))):
            raise DataError(
                f"{where}: the recording's header names a file outside its folder; move it there"
            )


def _check_segments(record: Any, where: str) -> None:
    """Raise DataError for segments that do not fit together; wfdb would join them all the same."""
    segments = getattr(record, "segments", None) or []
    segments = [segment for segment in segments if segment is not None]

    # Rates and channels.
    if any(segment.fs != record.fs for segment in segments):
        raise DataError(
            f"{where}: the recording has segments of several rates; "
            "save each as a recording of its own"
        )
    several = any(segment.sig_name != segments[0].sig_name for segment in segments)
    if several and record.layout == "fixed":
        raise DataError(
            f"{where}: the recording has segments of several channels; give it a layout segment"
        )

    # The units of each channel.
    units: dict[str, str] = {}
    for segment in segments:
        for name, unit in zip(segment.sig_name or [], segment.units or [], strict=True):
            if name is not None and units.setdefault(name, unit) != unit:
                raise DataError(
                    f"{where}: the recording has a channel in several units; write it in one"
                )
