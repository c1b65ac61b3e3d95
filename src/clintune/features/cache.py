"""The cache of pieces: the pieces of each item, or a frozen encoder's tokens, memory-mapped.

Each key of encoder and preprocessing has one folder. It holds safetensors shards, each written
atomically, so that a build that was stopped continues where it was. Items are identified by the
hash of their content, so runs, folds and cohorts share them. For the items of each run a table of
addresses leads from the number of an item to its pieces.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from clintune.cohort.samples import Items
from clintune.contracts import Extent, Pieces
from clintune.core.errors import DataError
from clintune.core.files import value_sha256, write_json
from clintune.core.locks import exclusive_lock
from clintune.core.progress_bar import counted
from clintune.features import preprocess as encode
from clintune.features.cache_key import cache_key, class_name
from clintune.features.cuts import Cuts
from clintune.features.inventory import Scanned, scan
from clintune.features.item_keys import item_keys, listed, stamped_media, view_key
from clintune.features.pieces import CUTS, LEFT_OUT, PLACES, StoredPieces
from clintune.features.preprocess import PreprocessWorkers, View, laid_flat, make_pieces
from clintune.features.sealed import damaged, drop, is_intact, save_sealed
from clintune.modalities.base import Modality, item_reader
from clintune.storage.cache_folder import mark_used

_CPU = torch.device("cpu")


class PieceCache:
    """The cached pieces of one modality with its statistics, as `make_pieces` makes them."""

    def __init__(
        self,
        name: str,
        modality: Modality,
        statistics: Mapping[str, Any],
        cache: Path,
        precision: str = "fp32",
    ) -> None:
        self.name = name
        self.modality = modality
        self.reader = item_reader(modality)
        self.precision = precision
        key = cache_key(modality, statistics, precision)
        self.folder = cache / "pieces" / value_sha256(key)[:32]
        self.media = cache / "media"

    def fill(self, items: Items, device: torch.device = _CPU, workers: int = 0) -> StoredPieces:
        """Compute the missing pieces of the items in every view, and return the pieces of all.

        `workers` processes read and preprocess the items (0: this process). The frozen encoder runs
        on `device`. Where several processes fill at once, one does the work and the others wait.
        Unreadable items have no pieces; the next call tries them again.
        """
        with exclusive_lock(self.folder, f"the pieces of {self.name}") as waited:
            self._open_folder()

            stamped = stamped_media(items, self.reader)
            moments = [part.tolist() for part in items.moments()] if self.reader.timed else []
            known_by = [items.fingerprint(), self.reader.views, listed(stamped), moments]
            table = self.folder / "tables" / f"{value_sha256(known_by)[:32]}.safetensors"

            # The process that this one waited for has just verified the table.
            pieces = _open_table(table, verify=not waited)
            if pieces is not None and (waited or not pieces.errors):
                return pieces

            # Whole items come first: only they tell which items go on after a prediction time.
            keys = item_keys(items, stamped, self.media, self.reader)
            whole = self._views(keys, (View(number, 0) for number in items.numbers.tolist()))
            scanned, errors = self._complete(items, whole, device, workers)

            # Then the parts of those items, up to each prediction time.
            cuts = Cuts.of(items, self._extents(items, keys, scanned))
            part_keys = self._part_keys(items, keys, cuts)
            pairs = zip(cuts.number.tolist(), cuts.hours.tolist(), strict=True)
            parts = self._views(part_keys, (View(number, 0, hours) for number, hours in pairs))
            scanned, failed = self._complete(items, parts, device, workers, scanned)

            self._write_table(table, items, keys, part_keys, cuts, scanned, errors | failed)
            return StoredPieces(table)

    def _open_folder(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        mark_used(self.folder)

        about = self.folder / "about.json"
        if not about.exists():
            source = (
                self.modality.origin.get("source", "no weights")
                if self.modality.cacheable
                else "before the encoder"
            )
            write_json(about, {"name": class_name(self.modality), "source": source})

    def _views(self, keys: Sequence[str], whole: Iterable[View]) -> dict[str, View]:
        """Return every view by its key; `whole` holds the plain view of each item or part.

        Items of equal content share a key, and count once.
        """
        found: dict[str, View] = {}
        for key, plain in zip(keys, whole, strict=True):
            for view in range(self.reader.views):
                found.setdefault(view_key(key, view), plain._replace(view=view))
        return found

    def _extents(self, items: Items, keys: Sequence[str], scanned: Scanned) -> dict[int, Extent]:
        """Return when items begin and end, by item number, for files that tell it."""
        if not self.reader.timed:
            return {}
        places = {
            number: scanned.places.get(view_key(key, 0))
            for number, key in zip(items.numbers.tolist(), keys, strict=True)
        }
        return {number: place.extent for number, place in places.items() if place is not None}

    def _part_keys(self, items: Items, keys: Sequence[str], cuts: Cuts) -> list[str]:
        key = dict(zip(items.numbers.tolist(), keys, strict=True))
        pairs = zip(cuts.number.tolist(), cuts.hours.tolist(), strict=True)
        return [value_sha256([key[number], hours])[:32] for number, hours in pairs]

    def _complete(
        self,
        items: Items,
        wanted: Mapping[str, View],
        device: torch.device,
        workers: int,
        scanned: Scanned | None = None,
    ) -> tuple[Scanned, dict[str, DataError]]:
        """Compute the views in `wanted` that are missing; return what is there, and errors by key.

        A damaged shard that holds some of them is reported and computed again.
        """
        scanned = scanned or self._swept()

        # Remove damaged shards, so that their views count as missing.
        holding = {scanned.places[key].shard for key in wanted if key in scanned.places}
        if bad := damaged(self.folder / scanned.shards[number] for number in sorted(holding)):
            for path in bad:
                drop(path)
            scanned = scan(self.folder)

        todo = {key: view for key, view in wanted.items() if key not in scanned.places}
        if not todo:
            return scanned, {}
        errors = self._prepare(items, todo, device, workers)
        return scan(self.folder), errors

    def _swept(self) -> Scanned:
        """Return what the folder holds, and remove the shards whose content cannot be told."""
        scanned = scan(self.folder)
        for name in scanned.unknown:
            drop(self.folder / name)
        return scanned

    def _prepare(
        self, items: Items, todo: Mapping[str, View], device: torch.device, workers: int
    ) -> dict[str, DataError]:
        """Write the missing shards; return the errors of items that cannot be read, by key."""
        num = min(workers, len(todo) // encode.WORTH_A_WORKER)
        preprocess = PreprocessWorkers(items.samples, self.name, self.reader, num)
        pieces = preprocess(list(todo.values()))
        shown = counted(pieces, f"preprocess {self.name}", len(todo), "items")

        errors: dict[str, DataError] = {}
        for shard, failed in make_pieces(todo, shown, self.modality, self.precision, device):
            self._write(shard)
            errors |= failed
        return errors

    def _write(self, done: Mapping[str, Pieces]) -> None:
        pieces = list(done.values())
        if not pieces:
            return
        about = {
            "keys": list(done),
            "lengths": [len(part) for part in pieces],
            "extents": [list(part.extent) for part in pieces],
            "left_out": [part.left_out for part in pieces],
        }
        shard = self.folder / f"{value_sha256(list(done))[:32]}.safetensors"
        save_sealed(shard, laid_flat(pieces).to_tensors(), about)

    def _write_table(
        self,
        path: Path,
        items: Items,
        keys: Sequence[str],
        part_keys: Sequence[str],
        cuts: Cuts,
        scanned: Scanned,
        errors: Mapping[str, DataError],
    ) -> None:
        """Write where the pieces of each item, part and view are, and why items are unreadable."""
        numbers = np.concatenate([items.numbers, np.arange(cuts.first, cuts.first + len(cuts))])
        all_keys = [*keys, *part_keys]
        num_views, num_rows = self.reader.views, cuts.first + len(cuts) + 1

        # Find the address of each view; what was never preprocessed keeps -1.
        address = np.full((num_rows, num_views, 3), -1, np.int64)
        for view in range(num_views):
            found = [scanned.address(view_key(key, view)) for key in all_keys]
            address[numbers, view] = np.array(found, np.int64).reshape(-1, 3)

        left_out = np.zeros(num_rows, np.int32)
        left_out[numbers] = [scanned.left_out(view_key(key, 0)) for key in all_keys]

        shard, start, length = np.moveaxis(address, -1, 0)
        columns = [shard.astype(np.int32), start, length.astype(np.int32)]
        arrays = dict(zip(PLACES, columns, strict=True))
        arrays |= dict(zip(CUTS, cuts.columns, strict=True))
        arrays[LEFT_OUT] = left_out
        tensors = {
            name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()
        }
        reasons = _reasons(items, keys, part_keys, cuts, errors)
        save_sealed(path, tensors, {"shards": scanned.shards, "errors": reasons})


def _reasons(
    items: Items,
    keys: Sequence[str],
    part_keys: Sequence[str],
    cuts: Cuts,
    errors: Mapping[str, DataError],
) -> dict[str, str]:
    """Return what is wrong with each unreadable item, by `Item.where`.

    The error of the whole item goes before that of a part.
    """
    failed = {key.rpartition("-")[0]: str(error) for key, error in errors.items()}
    numbers = [*cuts.number.tolist(), *items.numbers.tolist()]
    pairs = zip(numbers, [*part_keys, *keys], strict=True)
    wrong = {number: failed[key] for number, key in pairs if key in failed}
    places = [n for n, number in enumerate(items.numbers.tolist()) if number in wrong]
    return {items[n].where: wrong[int(items.numbers[n])] for n in places}


def _open_table(path: Path, *, verify: bool) -> StoredPieces | None:
    """Open a table; None where it or a shard that it leads to is missing or damaged."""
    if not path.exists():
        return None
    if not is_intact(path):
        drop(path)
        return None

    pieces = StoredPieces(path)
    used = pieces.used_shards()
    if not all(shard.exists() for shard in used):
        return None
    bad = damaged(used) if verify else []
    for shard in bad:
        drop(shard)
    return None if bad else pieces
