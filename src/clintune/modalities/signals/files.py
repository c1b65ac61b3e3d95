"""Read files of recordings up to a moment: NPZ archives, tables and WFDB records."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from clintune.core.errors import ConfigError, DataError
from clintune.core.text import visible
from clintune.modalities.absent_media import why_absent
from clintune.modalities.signals.clock import check_clocks
from clintune.modalities.signals.signal import Signal, later, means
from clintune.modalities.signals.tables import read_signal_table
from clintune.modalities.signals.times import read_times, usual_step
from clintune.modalities.signals.wfdb_records import read_record

_ARRAYS = ("signal", "rate_hz", "channels")
_MOST_GAPS = 1000
"""Most steps of a table's grid per row of it."""
_LOWEST_RATE, _HIGHEST_RATE = 1e-7, 1e7
_REMEDY = "save it as .npz, .csv, .parquet or WFDB, as docs/bring_your_data.md says"


def read_signal(path: Path | None, where: str, until: datetime | None = None) -> Signal:
    """Read a recording; cut one that tells its clock after `until`.

    A sample at `until` is kept, and what is left may be nothing. Raises DataError naming `where`
    when the file cannot be read or holds no observed sample, and when either its clock or `until`
    has a time zone and the other has none.
    """
    if path is None or path.suffix.lower() not in _READERS:
        raise DataError(f"{where}: the recording is of an unknown format; {_REMEDY}")

    # Read; whatever goes wrong becomes one line.
    try:
        if not path.is_file():  # reading from a pipe would wait for ever
            raise FileNotFoundError
        signal = _READERS[path.suffix.lower()](path, where, until)
    except (DataError, ConfigError):
        raise
    except (FileNotFoundError, PermissionError) as error:
        raise DataError(f"{where}: {why_absent(path)}") from error
    except (Exception, pl.exceptions.PanicException) as error:
        raise DataError(
            f"{where}: the recording cannot be read ({type(error).__name__}); {_REMEDY}"
        ) from error

    _check_channels(signal, where)
    if not np.isfinite(signal.values).any() and not signal.cut:
        raise DataError(f"{where}: the recording has no observed sample; leave the row out")

    # Infinite values are gaps. Note when the last sample was recorded.
    values = np.where(np.isfinite(signal.values), signal.values, np.float32(np.nan))
    if signal.start is None or signal.num_samples == 0:
        return replace(signal, values=values)
    last = later(signal.start, (signal.num_samples - 1) / signal.rate_hz)
    return replace(signal, values=values, last=last)


def _check_channels(signal: Signal, where: str) -> None:
    """Raise DataError for channels without a name of their own."""
    if len(set(signal.channels)) < len(signal.channels):
        raise DataError(f"{where}: the recording has two channels of one name; rename one")
    if any(name.lower() in ("", "nan") or "\ufffd" in name for name in signal.channels):
        raise DataError(
            f"{where}: the recording has a channel without a name, or one that is not UTF-8; "
            "rename it"
        )


def write_npz(path: Path, signal: Signal) -> None:
    """Write a recording as `.npz` with the keys signal, rate_hz, channels and start.

    `start` is an empty text where it is unknown.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        path,
        signal=signal.values,
        rate_hz=np.array(signal.rate_hz),
        channels=np.array(signal.channels),
        start=np.array(signal.start.isoformat() if signal.start else ""),
    )


def _read_npz(path: Path, where: str, until: datetime | None) -> Signal:
    """Read an archive; raises DataError for arrays of another shape or type than expected."""
    arrays = _arrays(path, where)
    values = np.atleast_2d(arrays["signal"])
    channels = [name.strip() for name in _texts(arrays["channels"])]
    rate, start = arrays["rate_hz"], arrays.get("start", np.array(""))

    # Check the arrays.
    if len(values) != len(channels) or values.ndim != 2:
        shape = f"{len(channels)} channels and a signal of shape {list(values.shape)}"
        raise DataError(f"{where}: the recording has {shape}; write it as [channels, samples]")
    for name, array in (("signal", values), ("rate_hz", rate)):
        if array.dtype.kind not in "fiub":
            raise DataError(
                f"{where}: the recording's array {name} is of type {array.dtype.name}; "
                "write real numbers"
            )
    if rate.size != 1:
        raise DataError(
            f"{where}: the recording's array rate_hz holds {rate.size} numbers; "
            "write one for all channels"
        )

    # Make a signal. A value too large for float32 is no measurement, but a gap.
    with np.errstate(over="ignore"):
        values = values.astype(np.float32)
    rate_hz = float(rate.item())
    _check_rate(rate_hz, where)
    begin = _start(start, where)
    signal = Signal(values=values, rate_hz=rate_hz, channels=channels, start=begin)
    return _up_to(signal, until, where)


def _arrays(path: Path, where: str) -> dict[str, NDArray[Any]]:
    """Return the arrays of an archive that are read, with `start` where it is there.

    Raises DataError for an archive that lacks an array, or has its start under another name.
    """
    with np.load(path, allow_pickle=False) as file:
        # Names.
        lacking = [name for name in _ARRAYS if name not in file]
        if lacking:
            raise DataError(f"{where}: the recording lacks the array {lacking[0]}; {_REMEDY}")
        times = [name for name in file.files if name.lower().startswith(("start", "time"))]
        if times and "start" not in times:
            raise DataError(
                f"{where}: the recording has an array {visible(times[0])}, which is not read, "
                "and none called start; call the time of the first sample start"
            )

        # Contents.
        try:
            return {name: file[name] for name in (*_ARRAYS, "start") if name in file}
        except ValueError as error:
            if "allow_pickle" not in str(error):
                raise
            objects = "the recording has an array that holds Python objects"
            raise DataError(f"{where}: {objects}; write text or numbers") from error


def _texts(array: NDArray[np.generic]) -> list[str]:
    """Return the text of each element; bytes are UTF-8."""
    return [part.decode() if isinstance(part, bytes) else str(part) for part in array.reshape(-1)]


def _start(array: NDArray[np.generic], where: str) -> datetime | None:
    """Return the moment of an archive's `start`, or None where it is empty."""
    if array.size != 1:
        raise DataError(
            f"{where}: the recording's start holds {array.size} times; "
            "write that of the first sample"
        )

    if array.dtype.kind == "M":
        array = array.astype("datetime64[us]")
    times = pl.Series(array.reshape(-1) if array.dtype.kind in "fiuM" else _texts(array))
    micros, zone = read_times(times, where)
    if micros[0] is None:
        return None
    moment = datetime.fromtimestamp(0, UTC) + timedelta(microseconds=int(micros[0]))
    return moment.replace(tzinfo=None) if zone is None else moment.astimezone(zone)


def _read_table(path: Path, where: str, until: datetime | None) -> Signal:
    """Read a table; put its rows on a grid of their usual step.

    Rows may be missing or irregular.
    """
    table = read_signal_table(path, where)
    if len(np.unique(table.micros)) < 2:
        raise DataError(f"{where}: the recording needs two times; {_REMEDY}")

    # Cut before the grid is laid, because the grid depends on every row.
    start, everything = table.moment(0), table.micros
    if until is not None:
        check_clocks(start, until, where)
        table = table.up_to(until)

    # Lay the grid. A recording with one time left has just begun; its values are left out.
    if len(np.unique(table.micros)) > 1:
        step = usual_step(table.micros)
        places = np.rint((table.micros - table.micros[0]) / step).astype(np.int64)
        if places[-1] > _MOST_GAPS * len(places):
            raise DataError(
                f"{where}: the recording's times lie too far apart for its rate; "
                "look for a mistyped date"
            )
        values = means(table.values, places, int(places[-1]) + 1)
    else:
        step, values = usual_step(everything), table.values[:, :0]

    _check_rate(1e6 / step, where)
    return Signal(
        values=values,
        rate_hz=1e6 / step,
        channels=table.channels,
        start=start,
        cut=len(table.micros) < len(everything),
        without_numbers=table.without_numbers,
    )


def _read_wfdb(path: Path, where: str, until: datetime | None) -> Signal:
    """Read a record; bring signals of lower rates to the highest rate, which keeps their values."""
    record = read_record(path, where)
    highest = max(record.rates)
    parts = []
    for values, rate, name in zip(record.signals, record.rates, record.names, strict=True):
        _check_rate(rate, where)
        parts.append(Signal(values=values[None], rate_hz=rate, channels=[name]).at_rate(highest))
    values = np.concatenate([part.values for part in parts])
    signal = Signal(values=values, rate_hz=highest, channels=record.names, start=record.start)
    return _up_to(signal, until, where)


def _up_to(signal: Signal, until: datetime | None, where: str) -> Signal:
    """Cut a signal that tells its clock after `until`."""
    if until is None or signal.start is None:
        return signal
    check_clocks(signal.start, until, where)
    return signal.up_to(until)


def _check_rate(rate_hz: float, where: str) -> None:
    if not _LOWEST_RATE <= rate_hz <= _HIGHEST_RATE:
        bounds = f"between {_LOWEST_RATE:g} and {_HIGHEST_RATE:g}"
        raise DataError(
            f"{where}: the recording's rate is no number of samples a second {bounds}; correct it"
        )


_READERS = {".npz": _read_npz, ".csv": _read_table, ".parquet": _read_table, ".hea": _read_wfdb}
