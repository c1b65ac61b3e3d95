"""Search the files of a release for what belongs to patients.

Looked for are words of notes, record numbers, rare codes and names of media files. They are
streamed from the cohort, and what is searched is held once: time grows with either, memory with the
text of the release alone. A find that the items of 11 or more subjects share is no one's and is let
pass.
"""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clintune.cohort.codes import count_codes, owners_of
from clintune.cohort.samples import Items, Samples
from clintune.contracts import Item
from clintune.core.disclosure import SMALLEST_SHOWN
from clintune.core.errors import PackageError
from clintune.publishing.privacy.computed import checksums
from clintune.publishing.privacy.fragments import LEAST, first_within, stray, vocabulary, written
from clintune.publishing.privacy.spelling import all_numbers, numbers, plain

WINDOW = 30
"""Characters in a row that a release and a note must not share, whatever case and spaces are."""
_BLOCK = WINDOW // 2
"""Any window holds a whole block of a note that is cut into blocks."""
_WORD = re.compile(r"(?<![\w./-])[\w./-]*?(?:\d[\w./-]*?){3}[\w./-]*")
"""A word with three digits or more."""
_DIGITS = re.compile(rf"\d{{{LEAST},}}")
_ID = re.compile(r"(?<!\d)(?<!\b0\.)0*([1-9]\d{5,18})(?!\d)")
"""A number that may be an id, zeros before it or not; the decimals of a probability are none."""
_THOUSANDS = re.compile(r"(?<![\d,'.])\d{1,3}(?:[,'.]\d{3})+(?![,'.]?\d)")
_SAMPLES = 1024
"""Samples whose items are read at once."""
NOTE = "text of a note"
RECORD = "a record number, date or other word with digits"
MEDIA = "the name of a media file"
SUBJECT, CANARY = "a subject id", "a canary"
RARE = f"a code that fewer than {SMALLEST_SHOWN} subjects have"


def search_for_canaries(folder: Path, canaries: Sequence[str]) -> None:
    """Raise PackageError, naming the file, where a file below `folder` holds one of the strings."""
    for name, path in _files(folder).items():
        number = first_within(path, canaries)
        if number is not None:
            raise _refusal(name, CANARY, f"number {number + 1} of {len(canaries)}")


def search_for_patients(
    folder: Path, samples: Samples, rows: NDArray[np.int64], no_ones: Collection[str] = ()
) -> None:
    """Search every file below `folder` for what the items of the samples `rows` hold.

    Checksums that manifests and descriptions list are no one's, nor are those of `no_ones`, which a
    card may show. Raises PackageError that names a file of the release, the kind of what it holds
    and the row of the cohort that it is from, never the find itself.
    """
    # Read what is searched.
    files = _files(folder)
    computed = checksums(folder) | set(no_ones)
    search = Search(
        {name: written(path, computed) for name, path in files.items()},
        {name: stray(path) for name, path in files.items()},
        {name: vocabulary(path) for name, path in files.items()},
    )
    search.look_for_subjects(samples.subject_id[rows])

    # Look for rare codes, then for what the items hold.
    codes = count_codes(samples)
    search.pass_over(codes.common)
    for code, subject, where in owners_of(codes.rare, samples):
        search.look_for_code(code, subject, where)

    for modality in samples.indexes[0].modalities:
        for subject, item in _items(samples, modality, rows):
            search.look_for(subject, item)
    search.refuse()


class Search:
    """Looks for items in the texts of files and remembers what it found, of whom."""

    def __init__(
        self,
        texts: Mapping[str, str],
        stray: Mapping[str, str],
        vocabularies: Mapping[str, set[str]] | None = None,
    ) -> None:
        """Take the text of each file, the text among its tensors, and the codes that it lists."""
        self._texts = {name: f"{text}\n{stray[name]}" for name, text in texts.items()}
        self._vocabularies = vocabularies or {}
        self._no_ones: set[str] = set()
        self._ids = {name: _ids(text) for name, text in texts.items()}
        self._numbers = {name: all_numbers(text) for name, text in self._texts.items()}
        everything = "\n".join(self._texts.values())
        self._blocks = {everything[i : i + _BLOCK] for i in range(len(everything))}
        self._heads = {everything[i : i + LEAST] for i in range(len(everything))}
        self._found: dict[tuple[str, str, str], dict[int, str]] = defaultdict(dict)
        """File, kind and what was found to the subjects it is of, with a row of each."""

    def look_for_subjects(self, ids: NDArray[np.int64]) -> None:
        """Look for ids of six digits or more in what is written; raise PackageError for the first.

        The sign does not count, nor do zeros before an id. An id of eight digits or more may be
        written in thousands.
        """
        known = set(map(abs, ids.tolist()))
        for name, written_ids in self._ids.items():
            if written_ids & known:
                raise _refusal(name, SUBJECT, "the cohort")

    def pass_over(self, codes: Iterable[str]) -> None:
        """Ignore the numbers and words with digits of codes that many subjects have."""
        self._no_ones = set()
        for code in codes:
            for part in _parts(code):
                self._no_ones |= {*_words(part), *numbers(part)}

    def look_for_code(self, code: str, subject: int, where: str) -> None:
        """Look for a code where codes are listed, and for the numbers in it.

        A code that is no plain word is looked for everywhere.
        """
        text = plain(code)
        for name, listed in self._vocabularies.items():
            if text in listed:
                self._remember((name, RARE, text), subject, where)

        is_long, is_word = len(text) >= LEAST, text.replace(" ", "").isalpha()
        if is_long and not is_word and text[:LEAST] in self._heads:
            whole = re.compile(rf"(?<!\w){re.escape(text)}(?!\w)")
            for name, content in self._texts.items():
                if whole.search(content):
                    self._remember((name, RARE, text), subject, where)

        for part in _parts(code):
            for word in _words(part):
                if word not in self._no_ones:
                    self._look_for_word(RECORD, word, subject, where)
            self._look_for_numbers(set(numbers(part)) - self._no_ones, subject, where)

    def look_for(self, subject: int, item: Item) -> None:
        """Look for what an item holds."""
        if item.path is not None:
            # What follows the last dot may be no ending.
            for name in {plain(item.path.name), plain(item.path.stem)}:
                self._look_for_word(MEDIA, name, subject, item.where)

        if item.text is not None:
            text = plain(item.text)
            for word in _words(text):
                self._look_for_word(RECORD, word, subject, item.where)
            self._look_for_numbers(numbers(text), subject, item.where)
            self._look_for_text(text, subject, item.where)

    def refuse(self) -> None:
        """Raise PackageError for the first find that under 11 subjects share."""
        for (name, kind, _), rows in self._found.items():
            if len(rows) < SMALLEST_SHOWN:
                raise _refusal(name, kind, next(iter(rows.values())))

    def _look_for_word(self, kind: str, word: str, subject: int, where: str) -> None:
        if len(word) < LEAST or word[:LEAST] not in self._heads:
            return
        for name, text in self._texts.items():
            if word not in text:
                continue
            # Digits alone count only where no digit stands before or after them.
            if not word.isdigit() or re.search(rf"(?<!\d){word}(?!\d)", text):
                self._remember((name, kind, word), subject, where)

    def _look_for_numbers(self, wanted: Iterable[str], subject: int, where: str) -> None:
        for number in wanted:
            for name, known in self._numbers.items():
                if number in known:
                    self._remember((name, RECORD, number), subject, where)

    def _look_for_text(self, text: str, subject: int, where: str) -> None:
        for block in range(0, len(text) - _BLOCK + 1, _BLOCK):
            if text[block : block + _BLOCK] in self._blocks:
                for start in range(max(0, block - _BLOCK), min(block, len(text) - WINDOW) + 1):
                    window = text[start : start + WINDOW]
                    for name, whole in self._texts.items():
                        if window in whole:
                            self._remember((name, NOTE, window), subject, where)

    def _remember(self, find: tuple[str, str, str], subject: int, where: str) -> None:
        if len(self._found[find]) < SMALLEST_SHOWN:
            self._found[find].setdefault(subject, where)


def _words(text: str) -> Iterator[str]:
    """Yield the words with digits of a text in lower case, and the long numbers in them."""
    for word in _WORD.findall(text):
        yield word.strip("./-")
        yield from _DIGITS.findall(word)


def _parts(code: str) -> list[str]:
    return plain(code).split("//")


def _ids(text: str) -> set[int]:
    """Return the numbers of six digits or more in a text.

    Those of eight digits or more may be written in thousands.
    """
    joined = (re.sub(r"\D", "", found) for found in _THOUSANDS.findall(text))
    in_thousands = [digits for digits in joined if len(digits) >= LEAST]
    return set(map(int, [*_ID.findall(text), *in_thousands]))


def _items(samples: Samples, modality: str, rows: NDArray[np.int64]) -> Iterator[tuple[int, Item]]:
    """Yield the items that some samples see, with the number of the subject each is of."""
    for start in range(0, len(rows), _SAMPLES):
        part = rows[start : start + _SAMPLES]
        seen = samples.seen(modality, part)
        numbers, first = np.unique(seen.number, return_index=True)
        subjects = samples.subject[part[seen.owner[first]]]
        items = Items(samples, modality, numbers, seen.hours[first])
        yield from zip(subjects.tolist(), items, strict=True)


def _files(folder: Path) -> dict[str, Path]:
    """Return the files below a folder by their name in it."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {path.relative_to(folder).as_posix(): path for path in paths}


def _refusal(name: str, kind: str, where: str) -> PackageError:
    return PackageError(
        f"{name} of the release holds {kind}, from {where}; take it out and publish again"
    )
