"""Compare a recording's own clock with the time of its row and with the prediction time."""

from datetime import datetime

import torch
from torch import Tensor

from clintune.contracts import Extent, Item
from clintune.core.errors import DataError
from clintune.modalities.signals.signal import Signal, hours_between


def window_hours(signal: Signal, spans: list[tuple[int, int]], item: Item) -> Tensor:
    """Return the hours [P] from the end of each window to the prediction time.

    The last window ends when the recording does, or at the time of its row, whichever is later.
    Hours of a `whole` item are negative where a window ends after the prediction time.
    """
    ends = torch.tensor([stop for _, stop in spans], dtype=torch.float64)
    hours = item.hours - max(0.0, extent(signal, item).end)
    return (hours + (signal.num_samples - ends) / (3600 * signal.rate_hz)).float()


def extent(signal: Signal, item: Item) -> Extent:
    """Return when the read part of a recording begins and ends; 0 where its clock is unknown."""
    if signal.start is None or signal.last is None or item.time is None:
        return Extent(0.0, 0.0)
    return Extent(hours_between(item.time, signal.start), hours_between(item.time, signal.last))


def check_clock(signal: Signal, item: Item) -> None:
    """Raise DataError where a recording's clock contradicts its row, or cannot be compared."""
    if signal.start is None:
        return
    if item.time is None:
        raise DataError(
            f"{item.where}: the row has no time, while its recording tells one; "
            "give it the time when all was known"
        )

    check_clocks(signal.start, item.time, item.where)
    if hours_between(item.time, signal.start) > 1 / (3600 * signal.rate_hz):
        raise DataError(
            f"{item.where}: the recording begins after the time of its row; "
            "correct the row's time, or that in the file"
        )


def check_clocks(start: datetime, moment: datetime, where: str) -> None:
    """Raise DataError where a recording has a time zone and the cohort has none, or the reverse.

    `start` is the recording's start, `moment` a time of the cohort.
    """
    if (start.tzinfo is None) == (moment.tzinfo is None):
        return

    mine, others = "a time zone", "have none"
    if start.tzinfo is None:
        mine, others = "no time zone", "have one"
    raise DataError(
        f"{where}: the recording's times have {mine}, while the cohort's times {others}; "
        "write all with a zone, or all of one local clock without"
    )
