"""The reader of recordings: windows at one rate, standardised by the training recordings."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import compress
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from clintune.cohort.records import record_files
from clintune.contracts import Item, Pieces
from clintune.core.console import console
from clintune.core.disclosure import SMALLEST_SHOWN, Having
from clintune.core.errors import DataError
from clintune.core.seeding import derive_seed
from clintune.core.text import visible
from clintune.modalities.readers import ItemReader, claimed
from clintune.modalities.recording import MOST_VALUES, Signal, Values
from clintune.modalities.recording_clock import check_clock, extent, window_hours
from clintune.modalities.recording_doubts import RecordingDoubts, told
from clintune.modalities.rows import checked_floor
from clintune.modalities.signals import read_signal, write_npz
from clintune.modalities.usual import Totals

Transform = Literal["none", "log1p"]
_CLIP = 100.0


class RecordingReader(ItemReader):
    """A reader of recordings in windows, each one piece.

    A recording is brought to `rate_hz` and cut from its end into windows of `window_hours`. Each
    channel is transformed (`log1p` keeps the sign of the value) and standardised by the training
    recordings. Nothing is imputed: a gap is 0 with the mask of its channel at 0.

    A recording that tells its clock is read up to the prediction time. One that ends before its
    row, or tells no clock, counts as ending at the row's time, when all of it is known. A window
    counts its hours from its own end.

    `channels` lists what to read; others are left out. None takes those that `min_subjects`
    training subjects have, and any other is then an error. A listed channel that fewer have is not
    standardised. Others are standardised by their usual values (`usual`) and clipped to ±100
    deviations.

    Pieces: `signal` [P, C, L], `observed` [P, C, L], `clock` [P, 2, L] (sine and cosine of the
    local time of day, 0 if unknown).
    """

    media_column: ClassVar[str | None] = "waveform_path"
    timed: ClassVar[bool] = True
    length_setting: ClassVar[tuple[str, int]] = ("window_hours", 1)
    """The setting that says how long a window is, and the hours of its unit."""

    names: list[str]
    """The channels of the statistics."""

    def __init__(
        self,
        *,
        rate_hz: float,
        window_hours: float,
        transform: Transform,
        channels: list[str] | None,
        min_subjects: int,
        max_pieces: int,
        codes: Sequence[str] | None = None,
    ) -> None:
        super().__init__(max_pieces=max_pieces, codes=codes)
        self.rate_hz = rate_hz
        self.window_hours = window_hours
        self.transform = transform
        self.channels = channels
        self.min_subjects = checked_floor(min_subjects)

    @property
    def window_length(self) -> int:
        """Return L, the samples of a window."""
        return round(self.window_hours * 3600 * self.rate_hz)

    def row_filter(self) -> pl.Expr:
        """Select rows with a recording, of `codes` alone unless it is None."""
        return claimed(pl.col("waveform_path").is_not_null(), self.codes)

    def fit(self, items: Iterable[Item]) -> dict[str, Any]:
        """Return the channels, and mean and deviation of their transformed samples.

        They are 0 and 1 for a channel that too few training subjects have.
        """
        # Add up the observed samples of each channel.
        totals = defaultdict[str, Totals](Totals)
        having, doubts = Having(self.min_subjects), RecordingDoubts(self.min_subjects)
        for subject, signal in self.read_all(items, doubts):
            for name, row in zip(signal.channels, self._transform(signal.values), strict=True):
                seen = row[np.isfinite(row)].astype(np.float64)
                totals[name].add(seen)
                if len(seen):
                    having.add(name, subject)

        # Summarize them.
        names = self.frequent_channels(totals, having)
        sums = [totals[name].of_usual() if name in having else (0, 0.0, 0.0) for name in names]
        summaries = [_summary(*three) for three in sums]
        return {
            "channels": names,
            "mean": [mean for mean, _ in summaries],
            "std": [std for _, std in summaries],
            **self.floor_of(totals, having),
            **doubts.statistics(filter(having.__contains__, names)),
        }

    def remarks(self, statistics: Mapping[str, Any]) -> list[str]:
        """Return what is doubtful of the recordings, how many channels are rare, and their fate."""
        setting, unit = self.length_setting
        said = told(statistics, self.window_hours, f"{setting} is {self.window_hours / unit:g}")

        if number := statistics.get("num_rare", 0):
            fate = "those listed are not standardised"
            fate = "a recording with one is refused" if self.channels is None else fate
            few = f"fewer than {self.min_subjects} training subjects"
            said.append(f"{few} have {number} of the channels; {fate}")
        return said

    def files(self, path: Path) -> list[Path]:
        """Return the recording; of a WFDB header also all files that it names."""
        return record_files(path)

    def open(self, statistics: Mapping[str, Any]) -> None:
        """Take the channels, and the mean and deviation of each."""
        self.names = list(statistics["channels"])
        self.mean = np.array(statistics["mean"], dtype=np.float32)
        self.std = np.array(statistics["std"], dtype=np.float32)

    def preprocess(self, item: Item, view: int = 0) -> Pieces:
        """Read one recording up to the prediction time, and cut its newest windows."""
        signal = self.read(item, self.names)
        windows = signal.windows(self.window_length)
        newest = windows[-self.max_pieces :]

        # Standardise the values.
        with np.errstate(over="ignore"):
            values = (self._transform(signal.values) - self.mean[:, None]) / self.std[:, None]
        values = np.clip(values, -_CLIP, _CLIP)
        cut = torch.from_numpy(_cut(values, newest, self.window_length))

        # The clock as waves of a day.
        clock = signal.clock() * (2 * np.pi / 24)
        waves = _cut(np.stack([np.sin(clock), np.cos(clock)]), newest, self.window_length)

        tensors = {
            "signal": cut.nan_to_num(0.0),
            "observed": cut.isfinite().float(),
            "clock": torch.from_numpy(waves).nan_to_num(0.0),
        }

        return Pieces(
            tensors=tensors,
            hours=window_hours(signal, newest, item),
            extent=extent(signal, item),
            left_out=len(windows) - len(newest),
        )

    def read(
        self, item: Item, names: list[str] | None, doubts: RecordingDoubts | None = None
    ) -> Signal:
        """Read an item's recording at `rate_hz`.

        `names` lists the channels (None: those of the recording). `doubts` counts the recording as
        its file has it. Raises DataError naming `item.where` for a recording that cannot be read,
        or has too many values.
        """
        # Read.
        signal = read_signal(item.path, item.where, item.until)
        check_clock(signal, item)
        if doubts is not None:
            doubts.add_names(item.subject, signal)

        # Choose the channels, and check the length.
        if names is not None:
            self._check_channels(signal, names, item.where)
            signal = signal.with_channels(names)
        if signal.values.size * self.rate_hz / signal.rate_hz > MOST_VALUES:
            many = f"more than {MOST_VALUES:,} values at {self.rate_hz:g} Hz"
            raise DataError(
                f"{item.where}: the recording would have {many}; correct its rate, or `rate_hz`"
            )

        if doubts is not None:
            doubts.add(item.subject, signal)
        return signal.at_rate(self.rate_hz)

    def _check_channels(self, signal: Signal, names: list[str], where: str) -> None:
        """Raise DataError for a recording without `names`, or with a rare channel and no list."""
        observed = set(compress(signal.channels, map(np.any, np.isfinite(signal.values))))
        if observed - set(names) and self.channels is None:
            raise DataError(
                f"{where}: has a channel that fewer than {self.min_subjects} training subjects "
                "have; rename it, list in `channels` what to read, or lower min_subjects"
            )
        if not signal.cut and not observed & set(names):
            raise DataError(
                f"{where}: the recording, of {len(signal.channels)} channels, "
                f"has no sample of {', '.join(names)}; drop the row or correct `channels`"
            )

    def read_all(
        self, items: Iterable[Item], doubts: RecordingDoubts
    ) -> Iterator[tuple[int, Signal]]:
        """Yield each training recording with its subject; then print which columns hold no numbers.

        Unreadable recordings are skipped here; they are counted and listed later, when all items
        are preprocessed. Raises DataError where none can be read, or none has a sample.
        """
        first_error, num_read, num_observed = None, 0, 0
        having = Having(SMALLEST_SHOWN)
        without_numbers = set[str]()

        # Read the recordings.
        for item in items:
            try:
                signal = self.read(item, self.channels, doubts)
            except DataError as error:
                first_error = first_error or error
                continue

            num_read += 1
            num_observed += bool(np.isfinite(signal.values).any())
            for name in signal.without_numbers:
                without_numbers.add(name)
                having.add(name, item.subject)
            yield item.subject, signal

        # Say what is wrong with all of them together.
        if first_error is not None and num_read == 0:
            raise first_error
        if num_read and not num_observed:
            raise DataError(
                "recordings: no training recording has a sample by its prediction time; "
                "correct the times"
            )
        if without_numbers:
            frequent = [visible(name) for name in sorted(without_numbers) if name in having]
            named = ", ".join(frequent) or "of few subjects"
            console.print(f"recordings: columns without numbers are not read: {named}")

    def frequent_channels(self, found: Iterable[str], having: Having) -> list[str]:
        """Return the listed channels, or without a list those of enough training subjects."""
        if self.channels is not None:
            return list(self.channels)
        return sorted(name for name in found if name in having)

    def floor_of(self, found: Iterable[str], having: Having) -> dict[str, int]:
        """Return `min_subjects`, and how many channels fewer subjects have, for the statistics."""
        rare = [name for name in {*found, *(self.channels or [])} if name not in having]
        return {"min_subjects": self.min_subjects, "num_rare": len(rare)}

    @classmethod
    def fake(cls, folder: Path, n: int, seed: int) -> list[Item]:
        """Write recordings of two to four days: a count per minute, a daily rhythm and a gap."""
        draw = np.random.default_rng(derive_seed(seed, "fake recordings"))
        return [_fake_recording(folder, number, draw) for number in range(n)]

    def _transform(self, values: NDArray[Any]) -> NDArray[Any]:
        return np.sign(values) * np.log1p(np.abs(values)) if self.transform == "log1p" else values


def _cut(values: Values, spans: list[tuple[int, int]], length: int) -> Values:
    """Cut [C, T] into windows [P, C, L] of `length`; what lies before the recording is a gap."""
    if not spans:
        return np.empty((0, len(values), length), np.float32)
    before = max(0, -min(start for start, _ in spans))
    padded = np.pad(values, ((0, 0), (before, 0)), constant_values=np.nan)
    windows = np.stack([padded[:, start + before : stop + before] for start, stop in spans])
    return windows.astype(np.float32)


def _summary(number: int, total: float, squares: float) -> tuple[float, float]:
    """Return mean and deviation by number, sum and sum of squares; 0 and 1 where there are none."""
    if number == 0:
        return 0.0, 1.0
    mean = total / number
    variance = squares / number - mean**2
    return mean, float(np.sqrt(variance)) if variance > 1e-12 * max(1.0, mean**2) else 1.0


def _fake_recording(folder: Path, number: int, draw: np.random.Generator) -> Item:
    # Activity with a daily rhythm and a gap.
    minutes = np.arange(int(draw.integers(2 * 1440, 4 * 1440)))
    midnight = datetime(2020, 1, 1)  # noqa: DTZ001 (local time)
    start = midnight + timedelta(minutes=int(draw.integers(0, 1440)))
    clock = (minutes + start.hour * 60 + start.minute) / 1440
    level = 150 * (1 - np.cos(2 * np.pi * (clock - draw.uniform(0, 0.1))))
    activity = draw.poisson(level * draw.uniform(0.5, 2)).astype(np.float32)
    gap = int(draw.integers(0, len(minutes) - 200))
    activity[gap : gap + 200] = np.nan

    path = folder / f"recording_{number}.npz"
    signal = Signal(values=activity[None], rate_hz=1 / 60, channels=["activity"], start=start)
    write_npz(path, signal)
    return Item(
        hours=round(draw.uniform(0, 500), 2),
        code="WEARABLE//ACTIVITY",
        where=f"fake.parquet row {number}",
        time=start + timedelta(minutes=len(minutes)),
        path=path,
    )
