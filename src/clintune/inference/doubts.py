"""What is doubtful about rows in memory and their prediction times: reported, not refused."""

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl
from meds.schema import birth_code

from clintune.cohort import doubtful_times
from clintune.cohort.in_memory import InMemory
from clintune.cohort.labels import SAMPLE
from clintune.cohort.shards import CODE, ROW, SUBJECT

_LONG_AFTER = timedelta(days=2 * 365)
"""The time after the last row of a subject at which a prediction time is a doubt."""


def event_doubts(
    events: pl.LazyFrame,
    held: InMemory,
    samples: pl.DataFrame,
    statistics: Mapping[str, Mapping[str, Any]],
) -> Iterator[str]:
    """Yield a line for each doubt about rows, as `cohort.shards.typed` returns them, and samples.

    `held` is the source of these samples, `statistics` are those of each modality in training. No
    line holds a value or a code, which may be a patient's; it names a row instead.
    """
    yield from _unknown_codes(events, held, statistics)
    yield from _far_times(events, samples)


def _unknown_codes(
    events: pl.LazyFrame, held: InMemory, statistics: Mapping[str, Mapping[str, Any]]
) -> Iterator[str]:
    """Yield how many rows have a code that no modality knows, where some modality knows codes."""
    by_code = {name: part["codes"] for name, part in statistics.items() if "codes" in part}
    if not by_code:
        return

    # Other modalities read what the row itself holds, such as its text, whatever the code.
    known = {birth_code}.union(*by_code.values())
    for name in held.modalities:
        if name not in by_code:
            known.update(held.codes[code] for code in np.unique(held.rows[name].column(CODE)))

    rows = events.select(ROW, CODE).collect()
    unknown = rows.filter(~pl.col(CODE).is_in(sorted(known)))
    if len(unknown):
        yield (
            f"note: events: {len(unknown)} of {len(rows)} rows have a code that the model does not "
            f"know, or knows as rare (the first is row {unknown.item(0, ROW)}); look whether it is "
            "called otherwise"
        )


def _far_times(events: pl.LazyFrame, samples: pl.DataFrame) -> Iterator[str]:
    """Yield how many prediction times are before, or long after, all rows of their subject."""
    spans = doubtful_times.queries(events)["spans"].collect()
    answers = samples.with_row_index("answer").join(spans, on=SUBJECT)
    moment = pl.col(SAMPLE[1])

    far = {
        "before the first dated row": moment < pl.col("first"),
        "more than two years after the last row": moment > pl.col("last") + _LONG_AFTER,
    }
    for where, is_far in far.items():
        found = answers.filter(is_far).sort("answer")
        if len(found):
            yield (
                f"note: at: {len(found)} of {len(samples)} prediction times are {where} of their "
                f"subject (the first is that of answer {found.item(0, 'answer')}); look whether "
                "both times are of one clock"
            )
