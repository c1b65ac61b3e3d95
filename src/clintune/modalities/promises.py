"""What readers and encoders return, checked where they are called.

A wrong return value would fail later, in code that knows nothing of its author, or not at all:
pieces in another order would go to other patients.
"""

import json
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clintune.contracts import PieceBatch, Pieces
from clintune.core.errors import ConfigError

_ROUNDING = 1e-3
"""Hours by which a piece may lie after the prediction time, by the rounding of float32."""


def check_statistics(reader: object, statistics: Any) -> None:
    """Raise ConfigError unless `fit` returned a dictionary that JSON keeps."""
    if not isinstance(statistics, dict):
        raise _broken(reader, "fit", f"returns {_kind(statistics)}, not a dict")
    try:
        json.dumps(statistics, allow_nan=False)
    except (TypeError, ValueError) as error:
        kept = "text keys, lists and plain finite numbers"
        raise _broken(reader, "fit", f"returns what JSON cannot hold; use {kept}") from error


def check_pieces(reader: object, pieces: Any, *, least: float = 0.0) -> None:
    """Raise ConfigError unless `preprocess` returned pieces whose hours [P] are `least` or more."""
    if not isinstance(pieces, Pieces):
        raise _broken(reader, "preprocess", f"returns {_kind(pieces)}, not Pieces")
    _check_hours(reader, "preprocess", pieces.hours, least)


def check_piece_batch(reader: object, pieces: Any, owners: NDArray[np.int64], most: int) -> None:
    """Raise ConfigError unless `preprocess_rows` returned pieces of the samples `owners` of rows.

    Pieces of a sample stand side by side, in the order of the samples, and are `most` at most.
    """
    if not isinstance(pieces, PieceBatch):
        raise _broken(reader, "preprocess_rows", f"returns {_kind(pieces)}, not a PieceBatch")
    owner = pieces.owner
    _check_hours(reader, "preprocess_rows", pieces.hours)
    for name, tensor in {"owner": owner, **pieces.tensors}.items():
        if len(tensor) != len(pieces.hours):
            lengths = f"{len(tensor)} of `{name}` and {len(pieces.hours)} of `hours`"
            raise _broken(reader, "preprocess_rows", f"returns {lengths}; each piece has one")
    if owner.dtype != torch.int64 or owner.ndim != 1:
        shape = f"{owner.dtype} of shape {tuple(owner.shape)}"
        raise _broken(reader, "preprocess_rows", f"returns `owner` as {shape}, not int64 [P]")

    # Whose pieces they are.
    numbers = owner.numpy()
    if (np.diff(numbers) < 0).any():
        said = "returns pieces whose `owner` is out of order; keep those of a sample side by side"
        raise _broken(reader, "preprocess_rows", said)
    starts = np.flatnonzero(np.diff(numbers, prepend=-1))
    if not np.isin(numbers[starts], owners).all():
        raise _broken(reader, "preprocess_rows", "returns pieces of a sample that has no row")
    if (np.diff(starts, append=len(numbers)) > most).any():
        said = f"returns more than {most} pieces of a sample; keep the newest, as newest_rows does"
        raise _broken(reader, "preprocess_rows", said)


def check_num_pieces(reader: object, counts: Any, num_samples: int) -> None:
    """Raise ConfigError unless `num_pieces` returned a number for each sample [N]."""
    if np.shape(counts) != (num_samples,):
        said = f"returns the shape {np.shape(counts)}, not [N] = ({num_samples},)"
        raise _broken(reader, "num_pieces", said)


def check_encoded(modality: object, encoded: Any, num_pieces: int, shape: tuple[int, int]) -> None:
    """Raise ConfigError unless `encode` returned tokens [P, K, W]; `shape` is K and W."""
    wanted = (num_pieces, *shape)
    found = tuple(encoded.shape) if isinstance(encoded, Tensor) else _kind(encoded)
    if found != wanted:
        named = f"[P, tokens_per_piece, width] = {wanted}"
        raise _broken(modality, "encode", f"returns {found}, not {named}")


def _check_hours(reader: object, method: str, hours: Tensor, least: float = 0.0) -> None:
    if hours.ndim != 1 or not hours.is_floating_point():
        shape = f"{hours.dtype} of shape {tuple(hours.shape)}"
        raise _broken(reader, method, f"returns `hours` as {shape}, not float32 [P]")
    if not (hours >= least - _ROUNDING).all():
        said = "returns `hours` below 0, or NaN; they count back from the prediction time"
        raise _broken(reader, method, said)


def _broken(part: object, method: str, what: str) -> ConfigError:
    where = f"{type(part).__module__}.{type(part).__qualname__}.{method}"
    return ConfigError(f"{where} {what}; correct it, and run clintune.testing.check_modality")


def _kind(value: Any) -> str:
    return "nothing" if value is None else f"a {type(value).__name__}"
