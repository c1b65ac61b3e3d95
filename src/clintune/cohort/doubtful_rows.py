"""What is doubtful about the rows that modalities read: copies, texts that are none, texts and files without a time."""

from collections.abc import Iterator

import polars as pl

from clintune.cohort.shards import CODE, NUMBER, SUBJECT, TEXT, TIME

_COPIES = 0.01
"""Share of rows that stand more than once above which it is told: some records do repeat."""
_FEW = 5
"""Rows that two people may have alike by chance."""
_TEXTS = 0.01
_NUMBERS = 0.5
"""Shares of texts above which it is told what they are."""

_text = pl.col(TEXT)
_IS = {
    "garbled": _text.str.contains(r"Ã[^\x00-\x7F]|â€"),
    "markup": _text.str.contains(r"(?i)^\s*(\{\\rtf|<!doctype|<html|<\?xml)"),
    "numbers": _text.str.strip_chars().cast(pl.Float64, strict=False).is_not_null(),
}


class RowDoubts:
    """Counts over the rows that modalities claim, shard by shard."""

    def __init__(self) -> None:
        self._rows = 0
        self._copies = 0
        self._counts = dict.fromkeys(("texts", "untimed texts", "untimed files", *_IS), 0)
        self._people: list[pl.DataFrame] = []

    def add(self, rows: pl.DataFrame) -> None:
        """Count rows of a modality."""
        self._rows += len(rows)
        self._copies += len(rows) - rows.select(SUBJECT, TIME, CODE, NUMBER, TEXT, "path").hash_rows().n_unique()

        content = rows.select(TIME, CODE, NUMBER, TEXT).hash_rows()
        people = pl.DataFrame({SUBJECT: rows[SUBJECT], "content": content}).group_by(SUBJECT)
        self._people.append(people.agg(pl.col("content").bitwise_xor(), number=pl.len()))

        untimed = pl.col(TIME).is_null()
        counts = rows.select(
            **{
                "texts": _text.is_not_null().sum(),
                "untimed texts": (untimed & _text.is_not_null()).sum(),
                "untimed files": (untimed & pl.col("path").is_not_null()).sum(),
                **{name: is_one.sum() for name, is_one in _IS.items()},
            }
        )
        for name, number in counts.row(0, named=True).items():
            self._counts[name] += number or 0

    def told(self) -> Iterator[str]:
        """Yield a sentence for each doubt."""
        if self._copies > _COPIES * self._rows:
            said = f"{self._copies} of {self._rows} rows repeat another one, with its time, code and value"
            yield f"{said}; drop the copies, unless they are meant"
        if number := self._num_twins():
            said = f"{number} subjects have the same rows as another, with times, codes and values"
            yield f"{said}; if they are one person, link them in metadata/linked_subjects.parquet"

        for what, column in (("texts", "text_value"), ("files", "a media file")):
            if number := self._counts[f"untimed {what}"]:
                yield f"{number} rows with {column} have no time: every sample sees them, whenever they were written"

        total = self._counts["texts"]
        of = f"of {total} texts"
        if (number := self._counts["garbled"]) > _TEXTS * total:
            yield f"{number} {of} have letters as Ã¼ or â€, as UTF-8 read in another encoding has; read them as UTF-8"
        if (number := self._counts["markup"]) > _TEXTS * total:
            yield f"{number} {of} are RTF, HTML or XML; take the text out of them"
        if (number := self._counts["numbers"]) > _NUMBERS * total:
            yield f"{number} {of} are numbers; write them as {NUMBER}"

    def _num_twins(self) -> int:
        """Return how many subjects have just the rows of another."""
        if not self._people:
            return 0
        people = pl.concat(self._people).group_by(SUBJECT)
        whole = people.agg(pl.col("content").bitwise_xor(), pl.col("number").sum()).filter(pl.col("number") >= _FEW)
        return int(whole.select(pl.struct("content", "number").is_duplicated().sum()).item())
