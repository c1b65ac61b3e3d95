"""What is doubtful about rows that modalities read: copies, strange texts, and no time."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping

import polars as pl

from clintune.cohort.shards import CODE, NUMBER, SUBJECT, TEXT, TIME

_COPIES = 0.01
"""The share of repeated rows above which they are reported: some records do repeat."""
_FEW = 5
"""The number of rows that two people may have in common by chance."""
_BITS = 40
"""The bits of a row's hash that are used, so that the sum of many hashes stays within 64 bits."""
_TEXTS = 0.01
_NUMBERS = 0.5
"""The shares of strange texts, and of texts that are numbers, above which they are reported."""

_text = pl.col(TEXT)
_IS = {
    "garbled": _text.str.contains(r"Ã[^\x00-\x7F]|â€"),
    "markup": _text.str.contains(r"(?i)^\s*(\{\\rtf|<!doctype|<html|<\?xml)"),
    "numbers": _text.str.strip_chars().cast(pl.Float64, strict=False).is_not_null(),
}
_TEXTUAL = ("texts", "untimed_texts", "untimed_files", *_IS)


class RowDoubts:
    """Counts over the rows that modalities read, shard by shard; several may read one row."""

    def __init__(self) -> None:
        self._counts: dict[str, Counter[str]] = defaultdict(Counter)
        self._people: list[pl.DataFrame] = []

    def add(self, modality: str, rows: pl.DataFrame) -> None:
        """Count rows of a modality."""
        content = rows.select(TIME, CODE, NUMBER, TEXT).hash_rows()
        whole = rows.select(SUBJECT, "path", content=content).hash_rows()
        untimed, has_text = pl.col(TIME).is_null(), _text.is_not_null()
        counts = rows.select(
            rows=pl.len(),
            copies=pl.lit(len(rows) - whole.n_unique()),
            texts=has_text.sum(),
            untimed_texts=(untimed & has_text).sum(),
            untimed_files=(untimed & pl.col("path").is_not_null()).sum(),
            **{name: is_one.sum() for name, is_one in _IS.items()},
        )
        self._counts[modality].update(counts.row(0, named=True))

        # The sum of a subject's hashes tells whether two subjects have the same rows.
        each = pl.DataFrame({SUBJECT: rows[SUBJECT], "content": content % 2**_BITS})
        people = each.group_by(SUBJECT).agg(pl.col("content").sum(), number=pl.len())
        self._people.append(people)

    def told(self) -> Iterator[str]:
        """Yield a sentence for each doubt."""
        for modality, counts in self._counts.items():
            copies, rows = counts["copies"], counts["rows"]
            if copies > _COPIES * rows:
                yield (
                    f"{copies} of {rows} rows of {modality} repeat another one, with its time, "
                    "code and value; drop the copies, unless they are meant"
                )
        if number := self._num_twins():
            said = f"{number} subjects have the same rows as another, with times, codes and values"
            yield f"{said}; if they are one person, link them in metadata/linked_subjects.parquet"

        # Texts and files.
        most = {key: self._most(key) for key in _TEXTUAL}
        for what, column in (("texts", "text_value"), ("files", "a media file")):
            if number := most[f"untimed_{what}"]:
                yield (
                    f"{number} rows with {column} have no time: every sample sees them, "
                    "whenever they were written"
                )
        yield from _of_texts(most)

    def _most(self, key: str) -> int:
        """Return the greatest of a count over modalities: several may read one row."""
        return max((counts[key] for counts in self._counts.values()), default=0)

    def _num_twins(self) -> int:
        """Return how many subjects have exactly the rows of another."""
        if not self._people:
            return 0

        people = pl.concat(self._people).group_by(SUBJECT)
        whole = people.agg(pl.col("content", "number").sum()).filter(pl.col("number") >= _FEW)
        return int(whole.select(pl.struct("content", "number").is_duplicated().sum()).item())


def _of_texts(counts: Mapping[str, int]) -> Iterator[str]:
    """Yield how many texts are none that a person wrote.

    `counts` are the greatest ones over modalities, as several may read one text.
    """
    total = counts["texts"]
    kinds = (
        (
            "garbled",
            _TEXTS,
            "have letters as Ã¼ or â€, as UTF-8 read in another encoding has; read them as UTF-8",
        ),
        ("markup", _TEXTS, "are RTF, HTML or XML; take the text out of them"),
        ("numbers", _NUMBERS, f"are numbers; write them as {NUMBER}"),
    )
    for kind, least, said in kinds:
        if (number := counts[kind]) > least * total:
            yield f"{number} of {total} texts {said}"
