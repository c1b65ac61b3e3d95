"""Headers of safetensors files: what a file says of its tensors, read without loading any."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MOST_BYTES = 64 * 2**20
MOST_DIMENSIONS = 16
_LENGTH_BYTES = 8
_BITS = 8


@dataclass(frozen=True, slots=True)
class Header:
    """The header of a tensor in a safetensors file; `dtype` is the format's own name, as F32."""

    dtype: str
    shape: tuple[int, ...]
    num_bytes: int

    @property
    def entries(self) -> int:
        """Return the number of its entries."""
        return math.prod(self.shape)


def read_headers(path: Path) -> dict[str, Header]:
    """Return the header of each tensor by name.

    Raises ValueError for a file of another format, and for a header that is larger than
    `MOST_BYTES`, holds numbers or sizes larger than the file, or has more than `MOST_DIMENSIONS`.
    """
    # A file begins with the length of its header.
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
        if length > min(MOST_BYTES, size - _LENGTH_BYTES):
            raise ValueError(f"{path.name} has a header that is too long")
        content = file.read(length)
    try:
        listed = json.loads(content)
        return {
            name: _header(entry, size) for name, entry in listed.items() if name != "__metadata__"
        }
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path.name} has no header of safetensors") from error


def _header(entry: Any, size: int) -> Header:
    dtype, shape, (start, stop) = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(shape, list) or len(shape) > MOST_DIMENSIONS:
        raise ValueError("no shape, or one of too many dimensions")
    # No dimension is longer than the file, so that no empty tensor claims a great many rows.
    if not all(type(number) is int and 0 <= number <= size for number in [*shape, start, stop]):
        raise ValueError("a number is out of bounds")
    if not isinstance(dtype, str) or not start <= stop:
        raise ValueError("no type, or fewer than no bytes")
    header = Header(dtype=dtype, shape=tuple(shape), num_bytes=stop - start)
    if header.entries > _BITS * size:
        raise ValueError("more entries than the file has bits")
    return header
