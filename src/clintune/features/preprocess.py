"""From items to pieces: preprocess them here or in workers, and encode them if it is frozen."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice, product
from math import inf
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from clintune.cohort.samples import Items, Samples
from clintune.contracts import Extent, Pieces
from clintune.core.errors import DataError
from clintune.features.cuts import Cuts
from clintune.features.pieces import Block, HeldPieces, Known
from clintune.layers.precision import computing_in
from clintune.modalities.base import Modality, collate_pieces, item_reader
from clintune.modalities.promises import check_encoded, check_pieces
from clintune.modalities.readers import ItemReader

READ_AHEAD = 64
"""Number of items that are preprocessed before they are sorted by size and encoded."""
TOGETHER = 512
"""Number of items whose pieces are stored side by side."""
WORTH_A_WORKER = 256
"""Number of items below which the start of another process costs more than it saves."""
_ENCODED_TOGETHER = {"cpu": 1_250_000, "cuda": 24_000_000}
"""Numbers (pixels, say) that go through the encoder in one call, by device.

They fit the memory of a GPU, or the cache of a CPU. The latter holds eight images of 224 pixels,
which divide the items read ahead evenly.
"""

_Key = TypeVar("_Key")


class View(NamedTuple):
    """A view of an item by number, as it is seen `hours` after the time of its row.

    `hours` None means the whole item, at the time of its row.
    """

    number: int
    view: int
    hours: float | None = None


class PreprocessWorkers:
    """Preprocessing of items by number and view, here or in `workers` processes that stay alive."""

    def __init__(self, samples: Samples, name: str, reader: ItemReader, workers: int = 0) -> None:
        self._todo: list[View] = []
        # Spawned processes inherit no lock, no GPU, and no library threads that fork would break.
        self._loader = DataLoader(
            _Prepared(samples, name, reader),
            sampler=self._todo,
            batch_size=None,
            num_workers=workers,
            prefetch_factor=max(1, READ_AHEAD // workers) if workers else None,
            persistent_workers=workers > 0,
            collate_fn=_as_it_is,
            multiprocessing_context="spawn" if workers else None,
        )

    def __call__(self, todo: Sequence[View]) -> Iterator[Pieces | DataError]:
        """Yield the pieces of each view, at 0 hours, or the error that left it without pieces."""
        self._todo[:] = todo
        for part in self._loader:
            if isinstance(part, DataError):
                yield part
            else:
                hours, tensors, extent, left_out = part
                yield Pieces(
                    hours=torch.from_numpy(hours),
                    tensors={name: torch.from_numpy(array) for name, array in tensors.items()},
                    extent=extent,
                    left_out=left_out,
                )


class _Prepared(Dataset[Any]):
    """Preprocessed items, as arrays: workers would send tensors through scarce shared memory."""

    def __init__(self, samples: Samples, name: str, reader: ItemReader) -> None:
        self.samples = samples
        self.name = name
        self.reader = reader

    def __getitem__(
        self, view: View
    ) -> tuple[NDArray[Any], dict[str, NDArray[Any]], Extent, int] | DataError:
        hours = 0.0 if view.hours is None else view.hours
        (item,) = Items(self.samples, self.name, np.array([view.number]), np.array([hours]))
        try:
            pieces = self.reader.preprocess(replace(item, whole=view.hours is None), view.view)
        except DataError as error:
            return error
        # A whole file goes on after the time of its row.
        goes_on = self.reader.timed and view.hours is None
        check_pieces(self.reader, pieces, least=-inf if goes_on else 0.0)
        at_row = (pieces.hours.double() - hours).float() if hours else pieces.hours
        tensors = {name: tensor.numpy() for name, tensor in pieces.tensors.items()}
        return at_row.numpy(), tensors, pieces.extent, pieces.left_out


def make_pieces(
    keys: Iterable[_Key],
    prepared: Iterable[Pieces | DataError],
    modality: Modality,
    precision: str,
    device: torch.device,
) -> Iterator[tuple[dict[_Key, Pieces], dict[_Key, DataError]]]:
    """Yield preprocessed items by key, `TOGETHER` at a time, and the errors of unreadable ones.

    The pieces of a frozen encoder are `encoded` [P, K, W] float32, computed in `precision` on
    `device`, where the modality must be. The pieces of any other hold what `preprocess` returns.
    """
    # Encode a chunk of items at a time, so that items of like size can share a batch.
    waiting = zip(keys, prepared, strict=True)
    made: dict[_Key, Pieces] = {}
    errors: dict[_Key, DataError] = {}
    while chunk := list(islice(waiting, READ_AHEAD)):
        errors |= {key: part for key, part in chunk if isinstance(part, DataError)}
        done = {key: part for key, part in chunk if isinstance(part, Pieces)}
        made |= _encode(done, modality, precision, device) if modality.cacheable else done
        if len(made) >= TOGETHER:
            yield made, errors
            made, errors = {}, {}
    yield made, errors


def hold_pieces(
    preprocess: PreprocessWorkers,
    items: Items,
    modality: Modality,
    views: int,
    precision: str,
    device: torch.device,
    known: Known = Known(),  # noqa: B008
) -> tuple[HeldPieces, dict[int, DataError]]:
    """Return the pieces of the first `views` views of items, in memory, and errors by item number.

    The pieces equal those that `PieceCache` makes of the same items and views, bit for bit. Those
    in `known` are taken from there. Items that cannot be read have an error and no pieces.
    """
    held = _Held(known)

    def hold(todo: Mapping[tuple[int, int], View]) -> None:
        views_done = preprocess(list(todo.values()))
        for made, failed in make_pieces(todo, views_done, modality, precision, device):
            held.add(made, {todo[key].number: error for key, error in failed.items()})

    # Whole items come first: only they tell which items go on after a prediction time.
    wanted = {
        (number, view): View(number, view)
        for number in items.numbers.tolist()
        for view in range(views)
    }
    hold({key: view for key, view in wanted.items() if key not in held.places})

    # Then the parts of those items, up to each prediction time.
    cuts = Cuts.of(items, held.extents if item_reader(modality).timed else {})
    pairs = zip(cuts.number.tolist(), cuts.hours.tolist(), strict=True)
    parts = {
        (part, view): View(number, view, hours)
        for part, (number, hours) in enumerate(pairs, cuts.first)
        for view in range(views)
    }
    hold(parts)

    numbers = [*np.sort(items.numbers).tolist(), *range(cuts.first, cuts.first + len(cuts))]
    place = held.place(numbers, views)
    known_as = np.array([*numbers, cuts.first + len(cuts)])
    return HeldPieces(known_as, place, held.blocks, cuts), held.errors


class _Held:
    """Pieces that are kept in memory, with their places, as they are made."""

    def __init__(self, known: Known) -> None:
        self.blocks = list(known.blocks)
        self.places = dict(known.places)
        self.extents = dict(known.extents)
        self.errors: dict[int, DataError] = {}

    def add(self, made: dict[tuple[int, int], Pieces], errors: dict[int, DataError]) -> None:
        """Add pieces by item number and view as one block, and errors by item number."""
        self.errors |= errors
        start = 0
        for key, pieces in made.items():
            self.places[key] = len(self.blocks), start, len(pieces)
            self.extents[key[0]] = pieces.extent
            start += len(pieces)
        if made:
            self.blocks.append(laid_flat(list(made.values())))

    def place(self, numbers: list[int], views: int) -> NDArray[np.int64]:
        """Return block, start and length [I + 1, V, 3]; a last row is that of an unknown item."""
        place = np.zeros((len(numbers) + 1, views, 3), np.int64)
        for (row, number), view in product(enumerate(numbers), range(views)):
            place[row, view] = self.places.get((number, view), (0, 0, 0))
        return place


def laid_flat(pieces: list[Pieces]) -> Block:
    """Concatenate the pieces of several items along P."""
    encoded = [part.encoded for part in pieces if part.encoded is not None]
    hours = torch.cat([part.hours for part in pieces])
    return Block(collate_pieces(pieces), hours, torch.cat(encoded) if encoded else None)


@torch.no_grad()
def _encode(
    done: Mapping[_Key, Pieces], modality: Modality, precision: str, device: torch.device
) -> dict[_Key, Pieces]:
    """Replace the tensors of each item by the encoder's tokens; batch items of like size."""
    encoded: dict[_Key, Pieces] = {}
    for group in _groups(done, _ENCODED_TOGETHER[device.type]):
        collated = collate_pieces([done[key] for key in group])
        tensors = {name: part.to(device) for name, part in collated.items()}
        with computing_in(precision, device):
            encoded_pieces = modality.encode(tensors)
        lengths = [len(done[key]) for key in group]
        check_encoded(modality, encoded_pieces, sum(lengths), modality.token_shape)
        tokens = encoded_pieces.float().cpu()

        for key, part in zip(group, torch.split(tokens, lengths), strict=True):
            encoded[key] = replace(done[key], tensors={}, encoded=part)
    return encoded


def _groups(pieces: Mapping[_Key, Pieces], most: int) -> Iterator[list[_Key]]:
    """Yield the keys of items in groups of like size.

    A group holds at most `most` numbers, padding included, or one item.
    """
    sizes: dict[_Key, int] = {}
    for key, part in pieces.items():
        if len(part):
            sizes[key] = max(tensor[0].numel() for tensor in part.tensors.values())

    # Fill groups in order of size: the last item of a group is its largest.
    group: list[_Key] = []
    num = 0
    for key in sorted(sizes, key=sizes.__getitem__):
        num += len(pieces[key])
        if group and num * sizes[key] > most:
            yield group
            group, num = [], len(pieces[key])
        group.append(key)
    if group:
        yield group


def _as_it_is(part: Any) -> Any:
    return part
