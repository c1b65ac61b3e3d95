"""The contract of modalities as named checks."""

import json
import pickle
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl
import torch
from meds.schema import DataSchema
from torch import Tensor, nn

from clintune.contracts import Item, PieceBatch, Pieces, Tokens
from clintune.core.disclosure import SMALLEST_SHOWN
from clintune.core.errors import DataError
from clintune.core.seeding import seeded
from clintune.modalities.base import Modality, collate_pieces, item_reader
from clintune.modalities.rows import AnyReader, RowReader

Check = tuple[str, Callable[[], None]]

_TOLERANCE = 1e-5
_HOURS_PER_YEAR = 24 * 365.25


def check_modality(make: Callable[[], Modality], folder: Path) -> Iterator[Check]:
    """Yield the checks of a modality.

    `make` returns a new, unbuilt modality at each call. Media files are written to `folder`.
    Nothing is read or built until a check runs.
    """
    checks = _ModalityChecks(make, folder)
    yield "row_filter_is_a_truth_value", checks.row_filter
    yield "statistics_survive_json", checks.statistics
    yield "preprocess_repeats_itself", checks.preprocess
    yield "hours_follow_the_item", checks.hours
    yield "a_broken_item_is_named_and_nothing_else", checks.broken
    yield "a_reader_travels_without_its_encoder", checks.travels
    if checks.columnar:
        yield "a_reader_keeps_its_budget", checks.budget
    if not checks.native:
        yield "tokens_have_the_promised_shape_and_are_finite", checks.tokens
        yield "neighbours_do_not_change_tokens", checks.neighbours
        yield "a_saved_encoder_gives_the_same_tokens", checks.saved
        yield "the_mode_says_what_trains", checks.modes


class _ModalityChecks:
    def __init__(self, make: Callable[[], Modality], folder: Path) -> None:
        self.make = make
        self.folder = folder
        self.native = make().native
        self.columnar = isinstance(make().reader, RowReader)
        self.built = cache(lambda: self._build(0))
        self.items = cache(lambda: make().reader.fake(folder, 5, 0))

    def training(self) -> Iterator[Item]:
        """Yield each item for so many subjects that statistics hold nothing back."""
        for subject in range(SMALLEST_SHOWN):
            for item in self.items():
                yield replace(item, subject=subject)

    def row_filter(self) -> None:
        reader = self.make().reader
        columns = {
            DataSchema.subject_id_name: [1, 1],
            DataSchema.time_name: [None, None],
            DataSchema.code_name: ["A", "B"],
            DataSchema.numeric_value_name: [1.0, None],
            DataSchema.text_value_name: ["text", None],
        }
        media = {reader.media_column: ["file", None]} if reader.media_column else {}
        table = pl.DataFrame(columns | media)

        selected = table.select(selected=reader.row_filter())["selected"]
        assert selected.dtype == pl.Boolean, f"row_filter() is {selected.dtype}, not Boolean"
        assert selected.null_count() == 0, (
            "row_filter() is null for some rows; make it true or false"
        )

    def statistics(self) -> None:
        statistics = _fit(self.make().reader, self.training())
        again = json.loads(json.dumps(statistics, allow_nan=False))
        assert again == statistics, (
            "statistics change in JSON; use dicts with text keys, lists and plain numbers"
        )

    def preprocess(self) -> None:
        reader = self.built().reader
        for item in self.items():
            pieces = _read(reader, item)
            _assert_same(pieces, _read(reader, item), "preprocess does not repeat itself")

            for view in range(1, reader.views):
                other = _read(reader, item, view)
                again = _read(reader, item, view)
                _assert_same(other, again, f"view {view} does not repeat itself")
                before, after = pieces.tensors, other.tensors
                assert any(not torch.equal(before[name], after[name]) for name in before), (
                    f"view {view} shows the plain item; augment it or lower `views`"
                )

    def hours(self) -> None:
        reader = self.built().reader
        tells_hours = self.native and self.columnar
        for item in self.items():
            now = _read(reader, item)
            later = _read(reader, replace(item, hours=item.hours + 8))
            assert now.hours.dtype == torch.float32, f"hours are {now.hours.dtype}, not float32"
            assert (now.hours >= item.hours - 1e-3).all(), "a piece is newer than its item"

            # A text that tells the hours may have another length: compare the first piece.
            length = 1 if tells_hours else None
            _assert_close(
                later.hours[:length],
                now.hours[:length] + 8,
                "of an item 8 hours older, the hours of pieces are not 8 more",
            )

    def broken(self) -> None:
        item = self.items()[0]
        if item.path is None and item.text is None:
            return
        where, blank = "table.parquet row 7", item.text and "  "
        secret = replace(item, code="SECRET//CODE", where=where, text=blank)

        # A file that is empty, one of garbage, and one that is missing; or a blank text.
        self.folder.mkdir(parents=True, exist_ok=True)
        for number, content in enumerate([b"", b"SECRET garbage" * 50, None]):
            path = None
            if item.path is not None:
                path = self.folder / f"SECRET_{number}{item.path.suffix}"
                if content is not None:
                    path.write_bytes(content)
            self._assert_refused(replace(secret, path=path))

    def _assert_refused(self, item: Item) -> None:
        """Assert that an item cannot be read, and that the error names its place and no secret."""
        try:
            _read(self.built().reader, item)
        except DataError as error:
            message = str(error)
            assert item.where in message, f"the error does not say where: {message}"
            assert "SECRET" not in message, f"the error tells of the patient: {message}"
            assert "\n" not in message, f"the error has more than one line: {message}"
        else:
            raise AssertionError("a broken item was read; raise DataError naming item.where")

    def travels(self) -> None:
        modality = self.built()
        reader = modality.reader
        modules = [name for name, value in vars(reader).items() if isinstance(value, nn.Module)]
        assert not modules, f"the reader holds the module `{'`, `'.join(modules)}`"

        travelled = pickle.loads(pickle.dumps(reader))
        for item in self.items():
            first, second = _read(reader, item), _read(travelled, item)
            _assert_same(first, second, "preprocess differs after pickling")

    def budget(self) -> None:
        modality, items = self.built(), self.items()
        reader, budget = modality.reader, modality.reader.max_pieces
        assert isinstance(reader, RowReader)
        codes = sorted({item.code for item in items})

        # What is within the budget is counted as it is made.
        if len(items) <= budget and reader.makes_one_of_a_row:
            made = len(_pieces(modality, [_oldest_first(items)]).owner)
            assert made == len(items), (
                f"the reader makes {made} pieces of {len(items)} rows; say so in num_pieces"
            )

        # A sample of many more rows, each copy of the items a year older than the one before.
        many = [
            replace(item, hours=item.hours + year * _HOURS_PER_YEAR)
            for year in range(budget + 2)
            for item in items
        ]
        made = len(_pieces(modality, [_oldest_first(many)]).owner)
        most = budget + len(codes) if reader.sums_up else budget
        assert made <= most, (
            f"the reader makes {made} pieces of a sample, beyond max_pieces {budget}; "
            "keep the newest, as newest_rows does"
        )

    def tokens(self) -> None:
        modality = self.built()
        samples = [[item] for item in self.items()]
        pieces = _pieces(modality, samples)
        tokens = _encode(modality, pieces, len(samples))

        # Shapes and values.
        width = tokens.embeddings.shape[1]
        assert width == modality.width, f"tokens are {width} wide; `width` is {modality.width}"
        assert tokens.embeddings.isfinite().all(), "some token is not finite"
        assert tokens.hours.isfinite().all(), "the hours of some token are not finite"
        if modality.piecewise:
            wanted = len(pieces.hours) * modality.tokens_per_piece
            assert len(tokens.embeddings) == wanted, (
                f"there are {len(tokens.embeddings)} tokens of {len(pieces.hours)} pieces; "
                f"`tokens_per_piece` is {modality.tokens_per_piece}"
            )

        same = torch.equal(tokens.embeddings[0], tokens.embeddings[-1])
        assert not same, "different items give the same tokens"

    def neighbours(self) -> None:
        # Samples of one item, or of several where they are read by columns, with the oldest first.
        modality = self.built()
        samples = [[item] for item in self.items()]
        if self.columnar:
            items = _oldest_first(self.items())
            samples = [items[:1], items[1:3], items[3:]]
        sentence = "the tokens of a sample change with the other samples of its batch"

        # Encode each alone, then together in several orders.
        alone = [_encode(modality, _pieces(modality, [sample]), 1) for sample in samples]
        for order in (range(len(samples)), range(len(samples))[::-1], [2, 0]):
            pieces = _pieces(modality, [samples[number] for number in order])
            together = _encode(modality, pieces, len(order))
            for owner, number in enumerate(order):
                mine = together.embeddings[together.owner == owner]
                expected = alone[number].embeddings
                _assert_close(mine, expected, sentence)

    def saved(self) -> None:
        modality, other = self.built(), self._build(1)
        other.load_state_dict(modality.state_dict(), strict=True)
        item = self.items()[0]
        _assert_same(
            _read(modality.reader, item),
            _read(other.reader, item),
            "preprocess differs with the same state; derive nothing from random numbers in build",
        )

        samples = [[item] for item in self.items()]
        first = _encode(modality, _pieces(modality, samples), len(samples))
        second = _encode(other, _pieces(other, samples), len(samples))
        assert torch.equal(first.embeddings, second.embeddings), (
            "tokens differ with the same state; keep in parameters or buffers all that build draws"
        )

    def modes(self) -> None:
        modality = self._build(2)
        trained = [parameter.requires_grad for parameter in modality.parameters()]
        full = modality.mode == "full"
        assert any(trained) == full, f"mode {modality.mode}: {sum(trained)} tensors train"

        modality.train()
        frozen = modality.mode == "frozen"
        assert not frozen or not any(module.training for module in modality.modules()), (
            "a frozen encoder is in training mode after train()"
        )
        wanted = frozen and modality.piecewise and not self.columnar
        assert modality.cacheable == wanted, f"cacheable is {modality.cacheable}, not {wanted}"
        json.dumps([modality.arguments, modality.origin], allow_nan=False)

    def _build(self, seed: int) -> Modality:
        modality = self.make()
        statistics = _fit(modality.reader, self.training())
        with seeded(seed, "check"):
            modality.build(statistics)
        return modality.eval()


def _fit(reader: AnyReader, items: Iterable[Item]) -> dict[str, Any]:
    """Return the statistics of items."""
    if isinstance(reader, RowReader):
        return reader.fit_items(items)
    return reader.fit(items)


def _read(reader: AnyReader, item: Item, view: int = 0) -> Pieces | PieceBatch:
    """Return the pieces of an item, as if its sample had no other."""
    if isinstance(reader, RowReader):
        return reader.preprocess_items([item], [0])
    return reader.preprocess(item, view)


def _pieces(modality: Modality, samples: Sequence[Sequence[Item]]) -> PieceBatch:
    """Return the pieces of samples; the items of each stand with the oldest first."""
    items = [item for sample in samples for item in sample]
    owner = [number for number, sample in enumerate(samples) for _ in sample]
    if isinstance(modality.reader, RowReader):
        return modality.reader.preprocess_items(items, owner)

    pieces = [item_reader(modality).preprocess(item) for item in items]
    owners = torch.tensor(owner).repeat_interleave(torch.tensor([len(part) for part in pieces]))
    return PieceBatch(
        tensors=collate_pieces(pieces),
        hours=torch.cat([part.hours for part in pieces]),
        owner=owners,
    )


def _oldest_first(items: Sequence[Item]) -> list[Item]:
    return sorted(items, key=lambda item: -item.hours)


def _encode(modality: Modality, pieces: PieceBatch, num_samples: int) -> Tokens:
    with torch.no_grad():
        tokens: Tokens = modality(pieces, num_samples)
    return tokens


def _assert_same(first: Pieces | PieceBatch, second: Pieces | PieceBatch, sentence: str) -> None:
    names = f"{sorted(first.tensors)} and {sorted(second.tensors)}"
    assert first.tensors.keys() == second.tensors.keys(), f"{sentence}: tensors {names}"
    for name, tensor in first.tensors.items():
        _assert_close(tensor, second.tensors[name], f"{sentence}: `{name}`", tolerance=0)
    assert torch.equal(first.hours, second.hours), f"{sentence}: the hours"


def _assert_close(
    found: Tensor, wanted: Tensor, sentence: str, *, tolerance: float = _TOLERANCE
) -> None:
    torch.testing.assert_close(
        found,
        wanted,
        atol=tolerance,
        rtol=tolerance,
        equal_nan=True,
        msg=lambda detail: f"{sentence}. {detail}",
    )
