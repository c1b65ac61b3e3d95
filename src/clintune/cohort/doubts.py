"""What is doubtful about a cohort: counted and reported, but not refused, as some may be meant."""

from collections import Counter, defaultdict

import polars as pl
from meds.schema import LabelSchema

from clintune.cohort import doubtful_codes, doubtful_times
from clintune.cohort.doubtful_rows import RowDoubts
from clintune.cohort.shards import CODE, SUBJECT, TIME, count_subjects, readable
from clintune.core.disclosure import SMALLEST_SHOWN


class Doubts:
    """Counts, shard by shard, of what looks like a slip; a subject stands in one shard alone."""

    def __init__(self) -> None:
        self._scans: list[tuple[pl.LazyFrame, str]] = []
        self._found: dict[str, list[pl.DataFrame]] = defaultdict(list)
        self._rows = RowDoubts()

    def add(self, scan: pl.LazyFrame, where: str) -> None:
        """Count all rows of a shard."""
        queries = doubtful_times.queries(scan) | doubtful_codes.queries(scan)
        with readable(where):
            tables = pl.collect_all(list(queries.values()), engine="streaming")
        for name, table in zip(queries, tables, strict=True):
            self._found[name].append(table)
        self._scans.append((scan, where))

    def add_selected(self, modality: str, rows: pl.DataFrame) -> None:
        """Count the rows of a shard that a modality reads."""
        self._rows.add(modality, rows)

    def told(self, samples: pl.DataFrame) -> list[str]:
        """Return a sentence for each doubt; `samples` have a subject and a prediction time."""
        found = {name: pl.concat(tables) for name, tables in self._found.items()}
        moments = samples.select(SUBJECT, pl.col(LabelSchema.prediction_time_name).alias(TIME))
        return [
            *doubtful_times.told(found, moments),
            *self._rows.told(),
            *doubtful_codes.told(found, self._common),
        ]

    def _common(self, codes: set[str]) -> set[str]:
        """Return those of some codes that enough subjects have."""
        counts: Counter[str] = Counter()
        for scan, where in self._scans if codes else ():
            counts.update(count_subjects(scan.filter(pl.col(CODE).is_in(sorted(codes))), where))
        return {code for code, count in counts.items() if count >= SMALLEST_SHOWN}
