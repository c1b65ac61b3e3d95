"""Work done once: the pieces of each item, or a frozen encoder's tokens of them, on disk and memory-mapped.

One folder a key of encoder and preprocessing; in it safetensors shards that appear whole, so that a build which was
stopped goes on where it was. Items are known by the hash of their content, so runs, folds and cohorts share them;
a table of addresses for the items of each run leads to them by number.
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
from clintune.features.cuts import Cuts
from clintune.features.inventory import Scanned, scan
from clintune.features.item_keys import item_keys, listed, stamped_media, view_key
from clintune.features.pieces import CUTS, LEFT_OUT, PLACES, StoredPieces
from clintune.features.preprocess import PreprocessWorkers, View, encoding, laid_flat, make_pieces
from clintune.features.sealed import damaged, drop, is_intact, save_sealed
from clintune.modalities.base import Modality
from clintune.storage.cache_folder import mark_used

_FORMAT = 7
"""Raise it whenever files are read otherwise than before: what is cached would stay as it was."""
_CPU = torch.device("cpu")


class PieceCache:
    """The cached pieces of one modality under the statistics it was built with, as `make_pieces` makes them."""

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
        self.precision = precision
        key = {"format": _FORMAT, **encoding(modality, statistics, precision)}
        self.folder = cache / "pieces" / value_sha256(key)[:32]
        self.media = cache / "media"

    def fill(self, items: Items, device: torch.device = _CPU, workers: int = 0) -> StoredPieces:
        """Compute the pieces in every view of each item that is not there yet, and return all of them.

        `workers` processes read and prepare the items (0: this one); the frozen encoder runs on `device`. Of several
        processes that fill at once one does the work. Unreadable items have no pieces and are tried again next time.
        """
        with exclusive_lock(self.folder, f"the pieces of {self.name}") as waited:
            self._open_folder()

            stamped = stamped_media(items, self.modality)
            moments = [part.tolist() for part in items.moments()] if self.modality.timed else []
            key = value_sha256(
                [items.fingerprint(), self.modality.views, listed(stamped), moments]
            )[:32]
            table = self.folder / "tables" / f"{key}.safetensors"

            pieces = _open_table(table, verify=not waited)  # who was waited for did
            if pieces is not None and (waited or not pieces.errors):
                return pieces

            keys = item_keys(items, stamped, self.media, self.modality)
            whole = self._views(keys, (View(number, 0) for number in items.numbers.tolist()))
            scanned, errors = self._complete(items, whole, device, workers)
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
                self.modality.source.get("source", "no weights")
                if self.modality.cacheable
                else "before the encoder"
            )
            write_json(about, {"name": type(self.modality).__qualname__, "source": source})

    def _views(self, keys: Sequence[str], whole: Iterable[View]) -> dict[str, View]:
        """Return every view by its key, for items or parts by key and plain view; equal content is one."""
        found: dict[str, View] = {}
        for key, plain in zip(keys, whole, strict=True):
            for view in range(self.modality.views):
                found.setdefault(view_key(key, view), plain._replace(view=view))
        return found

    def _extents(self, items: Items, keys: Sequence[str], scanned: Scanned) -> dict[int, Extent]:
        """Return when items begin and end, by number, for files that tell it."""
        if not self.modality.timed:
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
        """Make what is missing of the views that are wanted by key; return what is there, and what went wrong, by key.

        A shard that holds some of them and is not as it was written is named and made again.
        """
        scanned = scanned or self._swept()
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
        """Return what is there, without shards of which nobody can tell what they hold: those are removed."""
        scanned = scan(self.folder)
        for name in scanned.unknown:
            drop(self.folder / name)
        return scanned

    def _prepare(
        self, items: Items, todo: Mapping[str, View], device: torch.device, workers: int
    ) -> dict[str, DataError]:
        """Write the shards that are missing; return what is wrong with items that cannot be read, by key."""
        num = min(workers, len(todo) // encode.WORTH_A_WORKER)
        prepared = PreprocessWorkers(items.samples, self.name, self.modality, num)(
            list(todo.values())
        )
        shown = counted(prepared, f"prepare {self.name}", len(todo), "items")
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
        save_sealed(
            self.folder / f"{value_sha256(list(done))[:32]}.safetensors",
            laid_flat(pieces).to_tensors(),
            about,
        )

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
        """Write where the pieces of each item, part and view are, and what is wrong with unreadable items."""
        views = range(self.modality.views)
        address = np.full((cuts.first + len(cuts) + 1, len(views), 3), -1, np.int64)
        numbers = np.concatenate([items.numbers, np.arange(cuts.first, cuts.first + len(cuts))])

        all_keys = [*keys, *part_keys]
        found = [[scanned.address(view_key(key, view)) for view in views] for key in all_keys]
        address[numbers] = np.array(found, np.int64).reshape(-1, len(views), 3)

        left_out = np.zeros(len(address), np.int32)
        left_out[numbers] = [scanned.left_out(view_key(key, 0)) for key in all_keys]

        failed = {key.rpartition("-")[0]: str(error) for key, error in errors.items()}
        wrong = {
            number: failed[key]
            for number, key in zip(cuts.number.tolist(), part_keys, strict=True)
            if key in failed
        }
        wrong |= {
            number: failed[key]
            for number, key in zip(items.numbers.tolist(), keys, strict=True)
            if key in failed
        }
        places = [n for n, number in enumerate(items.numbers.tolist()) if number in wrong]
        reasons = {items[n].where: wrong[int(items.numbers[n])] for n in places}

        columns = [
            address[..., 0].astype(np.int32),
            address[..., 1],
            address[..., 2].astype(np.int32),
        ]
        arrays = dict(zip(PLACES, columns, strict=True)) | dict(
            zip(CUTS, cuts.columns, strict=True)
        )
        arrays[LEFT_OUT] = left_out
        tensors = {
            name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()
        }
        save_sealed(path, tensors, {"shards": scanned.shards, "errors": reasons})


def _open_table(path: Path, *, verify: bool) -> StoredPieces | None:
    """Open a table, unless it is not there, or it or a shard that it leads to is lost or not as it was written."""
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
