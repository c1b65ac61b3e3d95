"""Safetensors files of the cache with a checksum inside: a damaged file is noticed, and never used.

The metadata hold what is known `about` the tensors (JSON), a checksum of the tensors, and one of
both. The last one proves `about` at the cost of reading the header.
"""

import json
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from clintune.core.console import console
from clintune.core.files import Stamp, atomic_path, file_signature, value_sha256

Tensors = Mapping[str, Tensor]
_THREADS = 8
_BROKEN = (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError)
_intact: set[Stamp] = set()
"""The files that this process read and found intact."""


def save_sealed(path: Path, tensors: Tensors, about: Any = None) -> None:
    """Write tensors, and the JSON-able `about` of them, to `path` atomically."""
    whole = {name: tensor.contiguous() for name, tensor in tensors.items()}
    metadata = {"about": json.dumps(about), "tensors": _digest(whole)}
    with atomic_path(path) as partial:
        save_file(whole, partial, metadata={**metadata, "seal": value_sha256(metadata)})
    _intact.update(file_signature([path]))


def read_about(path: Path) -> Any:
    """Return what is known `about` the tensors in a file; None where it is damaged or missing."""
    try:
        with safe_open(path, "pt") as file:
            metadata = dict(file.metadata())
        proven = metadata.pop("seal") == value_sha256(metadata)
        return json.loads(metadata["about"]) if proven else None
    except _BROKEN:
        return None


def is_intact(path: Path) -> bool:
    """Return whether a file is as it was written.

    All of the file is read, once in a process unless the file is touched.
    """
    try:
        (standing,) = file_signature([path])
        if standing not in _intact:
            with safe_open(path, "pt") as file:
                metadata = dict(file.metadata())
            seal = metadata.pop("seal")
            if seal != value_sha256(metadata) or metadata["tensors"] != _digest(load_file(path)):
                return False
            _intact.add(standing)
        return True
    except _BROKEN:
        return False


def damaged(paths: Iterable[Path]) -> list[Path]:
    """Return the files that are damaged or missing; many are read at once."""
    listed = list(paths)
    with ThreadPoolExecutor(_THREADS) as pool:
        checked = list(zip(listed, pool.map(is_intact, listed), strict=True))
    return [path for path, intact in checked if not intact]


def drop(path: Path) -> None:
    """Report a damaged file of the cache and remove it, so that it is made again."""
    console.print(f"{path}: is not as it was written; it is made again")
    path.unlink(missing_ok=True)


def _digest(tensors: Tensors) -> str:
    digest = sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)} ".encode())
        if tensor.numel():
            digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
