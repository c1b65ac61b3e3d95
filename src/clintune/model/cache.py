"""Work done once: the pieces of each item, or a frozen encoder's tokens of them, on disk and memory-mapped.

One folder a key of encoder and preprocessing; in it safetensors shards that appear whole, so that a build which was
stopped goes on where it was. Items are found by the hash of their content, so runs, folds and cohorts share them.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from clintune.contracts import Item, Pieces
from clintune.core.errors import DataError
from clintune.core.files import atomic_path, file_sha256, value_sha256
from clintune.modalities.base import Modality, collate_pieces

_FORMAT = 1
_SHARD_ITEMS = 512
_BATCH_PIECES = 32


class PieceCache:
    """The cached pieces of one modality under the statistics it was built with.

    A frozen encoder's pieces hold one tensor `tokens` [P, K, W] float32; any other's hold what `prepare` returns.
    """

    def __init__(self, modality: Modality, statistics: Mapping[str, Any], root: Path) -> None:
        self.encoded = modality.cacheable
        key = {
            "format": _FORMAT,
            "settings": modality.settings(),
            "statistics": dict(statistics),
            "weights": modality.source if self.encoded else None,
            "encoded": self.encoded,
        }
        self.folder = root / value_sha256(key)[:32]
        self._places: dict[str, tuple[Path, int, int]] = {}
        self._bad: dict[str, DataError] = {}
        self._seen: set[Path] = set()
        self._scan()

    def __contains__(self, key: str) -> bool:
        return key in self._places

    def read(self, item: Item, view: int = 0) -> Pieces | None:
        """Return the pieces of an item that `fill` has seen; None for one that could not be read."""
        key = item_key(item, view)
        if key in self._bad:
            return None
        path, start, stop = self._places[key]
        tensors = {name: tensor[start:stop] for name, tensor in _shard(path).items()}
        return Pieces(hours=tensors.pop("hours") + item.hours, tensors=tensors)

    def fill(
        self, modality: Modality, items: Iterable[tuple[Item, int]], device: str | torch.device = "cpu"
    ) -> dict[str, DataError]:
        """Compute the pieces of every (item, view) that is not there yet; return the error of each unreadable item.

        The keys are the items' `where`; each of several items of like content has its error.
        """
        unread: dict[str, list[str]] = {}
        missing = self._missing(items, unread)
        while chunk := list(islice(missing, _SHARD_ITEMS)):
            done: dict[str, Pieces] = {}
            for key, item, view in chunk:
                try:
                    done[key] = modality.prepare(replace(item, hours=0.0), view)
                except DataError as error:
                    self._bad[key] = error
            if done:
                self._write(self._encode(modality, done, device) if self.encoded else done)
        return {where: self._bad[key] for key, places in unread.items() if key in self._bad for where in places}

    def _missing(
        self, items: Iterable[tuple[Item, int]], unread: dict[str, list[str]]
    ) -> Iterator[tuple[str, Item, int]]:
        """Yield one item of each content that is not there yet; `unread` gathers where all of them stand."""
        for item, view in items:
            key = item_key(item, view)
            if key not in self:
                if key not in unread:
                    yield key, item, view
                unread.setdefault(key, []).append(item.where)

    @torch.no_grad()
    def _encode(self, modality: Modality, done: dict[str, Pieces], device: str | torch.device) -> dict[str, Pieces]:
        """Replace each item's tensors by the encoder's tokens, items of like size side by side."""
        encoded: dict[str, Pieces] = {}
        keys = sorted((key for key in done if len(done[key])), key=lambda key: _size(done[key]))
        for start in range(0, len(keys), _BATCH_PIECES):
            group = keys[start : start + _BATCH_PIECES]
            tensors = collate_pieces([done[key] for key in group])
            tokens = modality.encode({name: tensor.to(device) for name, tensor in tensors.items()}).float().cpu()
            lengths = [len(done[key]) for key in group]
            for key, part in zip(group, torch.split(tokens, lengths), strict=True):
                encoded[key] = Pieces(tensors={"tokens": part}, hours=done[key].hours)
        return encoded

    def _write(self, done: Mapping[str, Pieces]) -> None:
        pieces = list(done.values())
        if not pieces:
            return
        tensors = collate_pieces(pieces) | {"hours": torch.cat([part.hours for part in pieces])}
        index = {"keys": json.dumps(list(done)), "lengths": json.dumps([len(part) for part in pieces])}
        path = self.folder / f"{value_sha256(list(done))[:32]}.safetensors"
        with atomic_path(path) as partial:
            save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, partial, metadata=index)
        self._scan()

    def _scan(self) -> None:
        """Take in the shards that are on disk."""
        if not self.folder.is_dir():
            return
        for path in sorted(self.folder.glob("*.safetensors")):
            if path in self._seen:
                continue
            self._seen.add(path)
            with safe_open(path, "pt") as file:
                index = file.metadata()
            start = 0
            for key, length in zip(json.loads(index["keys"]), json.loads(index["lengths"]), strict=True):
                self._places[key] = (path, start, start + length)
                start += length


def item_key(item: Item, view: int) -> str:
    """Return the hash of an item's content and view; a media file counts by its bytes, not by its name."""
    media = (
        _media_sha256(item.path, item.path.stat().st_mtime_ns) if item.path and item.path.exists() else str(item.path)
    )
    return value_sha256([item.code, item.value, item.text, media, view])[:32]


@lru_cache(maxsize=1_000_000)
def _media_sha256(path: Path, modified: int) -> str:
    if path.suffix == ".hea":  # a WFDB record: the header names its signal files
        parts = sorted(path.parent.glob(f"{path.stem}.*"))
        return value_sha256([(part.name, file_sha256(part)) for part in parts])
    return file_sha256(path)


@lru_cache(maxsize=4096)
def _shard(path: Path) -> dict[str, torch.Tensor]:
    return load_file(path)


def _size(pieces: Pieces) -> int:
    return max(tensor[0].numel() for tensor in pieces.tensors.values())
