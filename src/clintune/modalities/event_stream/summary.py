"""Summary columns of events for a linear probe: of each code its values and its count."""

import torch
from torch import Tensor

from clintune.contracts import PieceBatch
from clintune.modalities.event_stream.encoders import in_time_order
from clintune.modalities.event_stream.reader import FACTS

PER_CODE = ("first", "last", "least", "greatest", "mean", "measured", "count", "present")
"""The columns of a code: five of its values, whether it has one, its count, whether it is there."""
_CLIP = 5.0


def summarise(pieces: PieceBatch, num_samples: int, count: Tensor) -> Tensor:
    """Return the columns PER_CODE of each code side by side [N, 8 * C], 0 where a sample lacks it.

    `count` [C, 2] holds mean and deviation of log(1 + count) of each code. The codes have the
    numbers 1..C in the pieces.
    """
    # A cell is a sample and a code; pieces of prefixes or unknown codes have none.
    pieces = in_time_order(pieces)
    num = len(count)
    of_code = (pieces.tensors["code"] > 0) & (pieces.tensors["code"] <= num)
    cell = pieces.owner * num + pieces.tensors["code"] - 1
    size = num_samples * num

    # The standardised count of each cell, and whether it has any event.
    present = of_code.nonzero()[:, 0]
    counts = _sum(pieces.tensors["count"][present], cell[present], size)
    deviation = (torch.log1p(counts).view(-1, num) - count[:, 0]) / count[:, 1]
    there = (counts > 0).view(-1, num)

    # The columns of its values.
    valued = (of_code & (pieces.tensors["facts"][:, 1] > 0)).nonzero()[:, 0]
    columns = [part.view(-1, num) for part in _of_values(pieces, valued, cell, size)]
    columns += [torch.where(there, deviation.clamp(-_CLIP, _CLIP), 0.0), there.float()]
    return torch.stack(columns, dim=-1).flatten(1)


def _of_values(pieces: PieceBatch, which: Tensor, cell: Tensor, size: int) -> list[Tensor]:
    """Return first, last, least, greatest and mean of each cell's values, and whether it has one.

    Each is [S], S cells. `which` lists the pieces with a value.
    """
    cell = cell[which]
    facts, spread = pieces.tensors["facts"][which], pieces.tensors["spread"][which]
    value = facts[:, FACTS.index("value")]
    weight = pieces.tensors["count"][which] * facts[:, FACTS.index("has_value")]
    valued = _sum(weight, cell, size)
    place = torch.arange(len(cell), device=cell.device)
    none = torch.zeros(size, device=value.device, dtype=value.dtype)
    if not len(cell):
        return [none] * 6

    # Pieces stand in time order: the least place is the earliest piece of a cell.
    earliest = place.new_zeros(size).scatter_reduce(0, cell, place, "amin", include_self=False)
    newest = place.new_zeros(size).scatter_reduce(0, cell, place, "amax", include_self=False)
    known = valued > 0
    found = [
        spread[earliest, 0],
        spread[newest, 1],
        none.scatter_reduce(0, cell, spread[:, 2], "amin", include_self=False),
        none.scatter_reduce(0, cell, spread[:, 3], "amax", include_self=False),
        _sum(value * weight, cell, size) / valued.clamp(min=1e-9),
    ]
    return [*(torch.where(known, part, 0.0) for part in found), known.float()]


def _sum(values: Tensor, cell: Tensor, size: int) -> Tensor:
    return values.new_zeros(size).index_add(0, cell, values)
