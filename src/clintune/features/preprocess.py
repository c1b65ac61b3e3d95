"""From items to pieces: prepared here or in other processes, and encoded where the encoder is frozen."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
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
from clintune.modalities.base import Modality, collate_pieces

READ_AHEAD = 64
"""Items prepared before they are sorted by size and encoded."""
TOGETHER = 512
"""Items whose pieces are kept side by side."""
WORTH_A_WORKER = 256
"""Items below which the start of another process costs more than it saves."""
_ENCODED_TOGETHER = {"cpu": 1_250_000, "cuda": 24_000_000}
"""Numbers of the pieces that go through the encoder in one call: what fits a GPU's memory, or a CPU's own cache, as
eight images of 224 pixels do, which divide the items read ahead evenly."""

_Key = TypeVar("_Key")


class View(NamedTuple):
    """A view of an item by number, as it is seen so many `hours` before; None: whole, at the time of its row."""

    number: int
    view: int
    hours: float | None = None


class PreprocessWorkers:
    """Prepares items by number and view, in this process or in `workers` others, which stay for the next call."""

    def __init__(self, samples: Samples, name: str, modality: Modality, workers: int = 0) -> None:
        self._todo: list[View] = []
        # Spawned processes inherit neither the lock, nor a GPU, nor the threads of libraries that fork would break.
        self._loader = DataLoader(
            _Prepared(samples, name, modality.without_weights()),
            sampler=self._todo,
            batch_size=None,
            num_workers=workers,
            prefetch_factor=max(1, READ_AHEAD // workers) if workers else None,
            persistent_workers=workers > 0,
            collate_fn=_as_it_is,
            multiprocessing_context="spawn" if workers else None,
        )

    def __call__(self, todo: Sequence[View]) -> Iterator[Pieces | DataError]:
        """Yield the pieces of each view, at 0 hours, or why there are none."""
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
    """Prepared items, as arrays: tensors would come from other processes through scarce shared memory."""

    def __init__(self, samples: Samples, name: str, modality: Modality) -> None:
        self.samples = samples
        self.name = name
        self.modality = modality

    def __getitem__(
        self, view: View
    ) -> tuple[NDArray[Any], dict[str, NDArray[Any]], Extent, int] | DataError:
        hours = 0.0 if view.hours is None else view.hours
        (item,) = Items(self.samples, self.name, np.array([view.number]), np.array([hours]))
        try:
            pieces = self.modality.prepare(replace(item, whole=view.hours is None), view.view)
        except DataError as error:
            return error
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
    """Yield prepared items by key, `TOGETHER` at a time, and what is wrong with those that could not be read.

    A frozen encoder's pieces are `encoded` [P, K, W] float32, computed in `precision` on `device`, which is where the
    modality is; any other's hold what `prepare` returns.
    """
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
    prepare: PreprocessWorkers,
    items: Items,
    modality: Modality,
    views: int,
    precision: str,
    device: torch.device,
    known: Known = Known(),  # noqa: B008
) -> tuple[HeldPieces, dict[int, DataError]]:
    """Return the pieces of the first `views` of some items, in memory, and what is wrong with those not to be read.

    Those that are `known` are taken from there. They are what `PieceCache` makes of the same items and views, bit for
    bit.
    """
    numbers = np.sort(items.numbers)
    blocks, places, extents = list(known.blocks), dict(known.places), dict(known.extents)
    errors: dict[int, DataError] = {}

    def hold(todo: Mapping[tuple[int, int], View]) -> None:
        for made, failed in make_pieces(
            todo, prepare(list(todo.values())), modality, precision, device
        ):
            errors.update({todo[key].number: error for key, error in failed.items()})
            start = 0
            for key, pieces in made.items():
                places[key] = len(blocks), start, len(pieces)
                extents[key[0]] = pieces.extent
                start += len(pieces)
            if made:
                blocks.append(laid_flat(list(made.values())))

    wanted = {
        (number, view): View(number, view)
        for number in items.numbers.tolist()
        for view in range(views)
    }
    hold({key: view for key, view in wanted.items() if key not in places})
    cuts = Cuts.of(items, extents if modality.timed else {})
    parts = enumerate(zip(cuts.number.tolist(), cuts.hours.tolist(), strict=True), cuts.first)
    hold(
        {
            (part, view): View(number, view, hours)
            for part, (number, hours) in parts
            for view in range(views)
        }
    )

    keys = [*numbers.tolist(), *range(cuts.first, cuts.first + len(cuts))]
    none = [(0, 0, 0)] * views
    place = [[places.get((key, view), (0, 0, 0)) for view in range(views)] for key in keys]
    return HeldPieces(
        np.array([*keys, cuts.first + len(cuts)]), np.array([*place, none]), blocks, cuts
    ), errors


def laid_flat(pieces: list[Pieces]) -> Block:
    """Return the pieces of several items along P."""
    encoded = [part.encoded for part in pieces if part.encoded is not None]
    hours = torch.cat([part.hours for part in pieces])
    return Block(collate_pieces(pieces), hours, torch.cat(encoded) if encoded else None)


def encoding(modality: Modality, statistics: Mapping[str, Any], precision: str) -> dict[str, Any]:
    """Return, as plain values, all that the pieces of an item depend on beside the item."""
    return {
        "settings": modality.settings(),
        "statistics": dict(statistics),
        "weights": modality.source,
        "encoded": modality.cacheable and precision,
    }


@torch.no_grad()
def _encode(
    done: Mapping[_Key, Pieces], modality: Modality, precision: str, device: torch.device
) -> dict[_Key, Pieces]:
    """Replace each item's tensors by the encoder's tokens, items of like size side by side."""
    encoded: dict[_Key, Pieces] = {}
    for group in _groups(done, _ENCODED_TOGETHER[device.type]):
        tensors = {
            name: part.to(device)
            for name, part in collate_pieces([done[key] for key in group]).items()
        }
        with computing_in(precision, device):
            tokens = modality.encode(tensors).float().cpu()
        lengths = [len(done[key]) for key in group]
        for key, part in zip(group, torch.split(tokens, lengths), strict=True):
            encoded[key] = replace(done[key], tensors={}, encoded=part)
    return encoded


def _groups(pieces: Mapping[_Key, Pieces], most: int) -> Iterator[list[_Key]]:
    """Yield the keys of items in groups of like size, each of at most so many numbers, padding included."""
    sizes = {
        key: max(t[0].numel() for t in part.tensors.values())
        for key, part in pieces.items()
        if len(part)
    }
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
