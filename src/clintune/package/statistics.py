"""Check of a package's statistics: they must be of the right types, finite and usable."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from clintune.core.errors import PackageError
from clintune.core.numbers import is_finite
from clintune.features.statistics import learns_nothing
from clintune.modalities.base import Modality
from clintune.modalities.event_stream.reader import EventReader
from clintune.modalities.event_stream.statistics import MOST_KNOTS
from clintune.modalities.rows import AnyReader
from clintune.modalities.signals.doubts import ABSENT, APART, HOURS, NAMES, RATES, SHARES
from clintune.modalities.signals.reader import RecordingReader
from clintune.modalities.signals.rhythm_reader import RhythmReader
from clintune.modalities.static import FactReader
from clintune.package.short_text import in_short

_OWN = "clintune."
_KEYS: dict[type[AnyReader], tuple[str, ...]] = {
    EventReader: ("codes", "prefixes"),
    FactReader: ("codes",),
    RecordingReader: ("channels", "mean", "std", *SHARES, *NAMES, ABSENT, APART, RATES, HOURS),
}
_COUNTS = ("min_subjects", "num_rare")
_MOST = 1e30
"""Greatest number that float32 can still compute with."""


def check_statistics(
    folder: Path, modalities: Mapping[str, Modality], statistics: Mapping[str, Mapping[str, Any]]
) -> None:
    """Raise PackageError where a modality of clintune cannot compute with its statistics."""
    for name, modality in modalities.items():
        for problem in _problems(modality.reader, statistics[name]):
            raise PackageError(
                in_short(f"{folder}: statistics.{name} {problem}; do not use the package")
            )


def _problems(reader: AnyReader, statistics: Mapping[str, Any]) -> Iterator[str]:
    yield from _of_keys(reader, statistics)
    yield from _of_doubts(statistics)
    if isinstance(reader, FactReader):
        yield from _of_codes(statistics.get("codes"))
    elif isinstance(reader, EventReader):
        yield from _of_events(statistics.get("codes"), statistics.get("prefixes"))
    elif isinstance(reader, RecordingReader):
        features = sum(reader.widths.values()) if isinstance(reader, RhythmReader) else 1
        yield from _of_channels(statistics, features)
    elif learns_nothing(reader) and statistics:
        yield "are not empty, though it learns none"


def _of_keys(reader: AnyReader, statistics: Mapping[str, Any]) -> Iterator[str]:
    """Yield keys that a modality of clintune does not write, and counts that are none."""
    known = next((keys for kind, keys in _KEYS.items() if isinstance(reader, kind)), None)
    if known is not None and type(reader).__module__.startswith(_OWN):
        for key in sorted(map(str, statistics.keys() - {*known, *_COUNTS})):
            yield f"hold the unknown key {key[:200]}"
    for key in _COUNTS:
        if not (type(statistics.get(key, 0)) is int and statistics.get(key, 0) >= 0):
            yield f"hold a {key} that is no whole number"


def _of_doubts(statistics: Mapping[str, Any]) -> Iterator[str]:
    """Yield doubts about recordings that are not of the kind that clintune writes."""
    # Shares and names of channels.
    for key in SHARES:
        if not _is_share(statistics.get(key, 0)):
            yield f"hold a {key} that is no share"
    for key in NAMES:
        names = statistics.get(key, [])
        if not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
            yield f"hold a {key} that is no list of names"

    # A number for each of some channels.
    for key, is_right in ((ABSENT, _is_share), (APART, _is_positive)):
        numbers = statistics.get(key, {})
        if not (isinstance(numbers, dict) and all(isinstance(name, str) for name in numbers)):
            yield f"hold an {key} that is not one number for each of some names"
        elif not all(map(is_right, numbers.values())):
            yield f"hold an {key} with a number that cannot be"

    # The range of rates, and the length.
    rates = statistics.get(RATES, [])
    is_range = isinstance(rates, list) and len(rates) in (0, 2) and all(map(_is_positive, rates))
    if not is_range or rates != sorted(rates):
        yield f"hold {RATES} that are not a least and a greatest"
    if not _is_positive(statistics.get(HOURS, 1)):
        yield f"hold {HOURS} that are no length"


def _of_codes(codes: Any) -> Iterator[str]:
    if not isinstance(codes, dict):
        yield "have no codes"
        return

    for code, known in codes.items():
        is_code = isinstance(code, str) and isinstance(known, dict)
        if not is_code or known.keys() != {"mean", "std"}:
            yield "hold a code without mean and std"
            continue
        mean, std = known["mean"], known["std"]
        if not (mean is None and std is None) and not _usable(mean, std):
            yield "hold a mean or std that is no finite number, or a std of 0"


def _of_events(codes: Any, prefixes: Any) -> Iterator[str]:
    if not isinstance(codes, dict) or not all(isinstance(code, str) for code in codes):
        yield "have no codes"
        return

    named = isinstance(prefixes, list) and all(isinstance(prefix, str) for prefix in prefixes)
    if not named or len({*prefixes, *codes}) < len(prefixes) + len(codes):
        yield "lack a list of prefixes, each once and none of them a code"

    # Values are scaled by knots, counts by mean and deviation.
    for known in codes.values():
        if not isinstance(known, dict) or known.keys() != {"knots", "count"}:
            yield "hold a code without knots and count"
            return
        knots, count = known["knots"], known["count"]
        if not (isinstance(count, list) and len(count) == 2 and _usable(*count)):
            yield "hold a count that is not a mean and a deviation above 0"
        if not (isinstance(knots, list) and _are_knots(knots)):
            yield "hold knots that are not ascending numbers, or too many of them"


def _are_knots(knots: list[Any]) -> bool:
    """Return whether these are no knots, or ascending numbers of which two differ."""
    if not all(is_finite(knot) and abs(knot) <= _MOST for knot in knots) or len(knots) > MOST_KNOTS:
        return False
    return not knots or (knots == sorted(knots) and knots[0] < knots[-1])


def _of_channels(statistics: Mapping[str, Any], features: int) -> Iterator[str]:
    """Yield what is wrong with the channels; each has `features` means and deviations."""
    channels, mean, std = statistics.get("channels"), statistics.get("mean"), statistics.get("std")
    if not (isinstance(channels, list) and isinstance(mean, list) and isinstance(std, list)):
        yield "lack a list of channels, mean or std"
        return

    are_names = bool(channels) and all(isinstance(name, str) for name in channels)
    if not are_names or len(set(channels)) < len(channels):
        yield "hold no channel, or one twice"
    elif not len(mean) == len(std) == features * len(channels):
        yield "hold more or fewer of mean or std than of channels"
    elif not all(map(_usable, mean, std)):
        yield "hold a mean or std that is no finite number, or a std of 0"


def _is_share(value: Any) -> bool:
    return is_finite(value) and 0 <= value <= 1


def _is_positive(value: Any) -> bool:
    return is_finite(value) and value > 0


def _usable(mean: Any, std: Any) -> bool:
    return is_finite(mean) and is_finite(std) and abs(mean) <= _MOST and 1 / _MOST <= std <= _MOST
