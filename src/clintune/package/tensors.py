"""The tensors of a package: their headers are checked before any is loaded, then each value."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from clintune.core.errors import PackageError
from clintune.package.short_text import in_short
from clintune.weights.tensor_headers import Header, read_headers

_DTYPES = {
    "BOOL": torch.bool,
    "U8": torch.uint8,
    "I8": torch.int8,
    "I16": torch.int16,
    "I32": torch.int32,
    "I64": torch.int64,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F32": torch.float32,
    "F64": torch.float64,
}
"""Types that a model of clintune can hold, by the names of safetensors."""


def package_headers(path: Path) -> dict[str, Header]:
    """Read the headers of a package's tensors, by name.

    Raises PackageError where the file is missing or not in the safetensors format, or a tensor has
    a type that no model has.
    """
    if not path.is_file():
        raise PackageError(f"{path}: is missing; fetch the package again")
    try:
        headers = read_headers(path)
        for header in headers.values():
            if _DTYPES[header.dtype].itemsize * header.entries != header.num_bytes:
                raise ValueError("a shape and its bytes differ")
    except (OSError, ValueError, LookupError) as error:
        raise PackageError(f"{path}: not a safetensors file; do not use the package") from error
    return headers


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file.

    Raises PackageError where it is missing, of another format, or holds a value that is not finite.
    """
    package_headers(path)
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise PackageError(f"{path}: not a safetensors file; do not use the package") from error
    for name, value in tensors.items():
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise PackageError(
                in_short(f"{path}: {name} holds a value that is not finite; do not use the package")
            )
    return tensors


def check_tensors(path: Path, found: Mapping[str, Header], expected: Mapping[str, Tensor]) -> None:
    """Raise PackageError where names, shapes or types differ from what the model expects."""
    wrong = sorted(found.keys() ^ expected.keys())
    shared = sorted(found.keys() & expected.keys())
    wrong += [name for name in shared if _misfit(found[name], expected[name])]
    if not wrong:
        return

    # Say what is wrong with the first.
    name = wrong[0]
    kind = "is none of the model's"
    if name not in found:
        kind = "is missing"
    elif name in expected:
        kind = f"has another {_misfit(found[name], expected[name])}"
    problem = f"{len(wrong)} tensors do not fit, as {name}, which {kind}; fetch the package again"
    raise PackageError(in_short(f"{path}: {problem}"))


def _misfit(found: Header, expected: Tensor) -> str | None:
    if found.shape != tuple(expected.shape):
        return "shape"
    return "type" if _DTYPES[found.dtype] != expected.dtype else None
