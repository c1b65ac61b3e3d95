"""Layout of sequences in a row without padding: their order, the filler, indexes for attention.

Shapes: N sequences, L tokens of the longest, M tokens of all, H heads.
"""

from heapq import heapreplace
from itertools import groupby
from math import gcd

import torch
from torch import Tensor
from torch.nn.functional import pad

BIN = 32
"""Length in tokens of the longest sequences that share bins on a CPU; about the width of a bin."""
_ROW_MULTIPLE = 16
"""The number of tokens in a row is a multiple of this.

Tensor cores and AMX tiles want it, and a CPU compiles kernels for each number that it meets.
"""


class Layout:
    """Places of N sequences of these `lengths` (int64 [N], each 1 or more) in a row of M tokens.

    The indexes that attention needs are made once for all layers:

    - `owner` [M] is the sequence of each token, and `positions` [M] count from 0 in each sequence;
    - `starts` int32 [N + 1] bound the sequences in the row;
    - `mask` [N, L] is true where a padded block holds a token. The block is `longest` tokens wide,
      by default as wide as it must be. `is_full` says that it has no padding;
    - `bin_width` is the width of the bins where the row consists of bins of equal width, each of
      whole sequences; else it is 0.
    """

    def __init__(self, lengths: Tensor, longest: int | None = None, bin_width: int = 0) -> None:
        self.bin_width = bin_width
        self.lengths: list[int] = lengths.tolist()
        self.longest = max(self.lengths) if longest is None else longest
        self.total = sum(self.lengths)
        self.is_full = self.total == len(lengths) * self.longest

        # Bounds of the sequences, and owner and position of each token.
        device = lengths.device
        ends = lengths.cumsum(0)
        numbers = torch.arange(len(lengths), device=device)
        self.owner = numbers.repeat_interleave(lengths, output_size=self.total)
        self.positions = torch.arange(self.total, device=device) - (ends - lengths)[self.owner]
        self.starts = pad(ends, (1, 0)).int()
        self.mask = torch.arange(self.longest, device=device) < lengths[:, None]

        self._slots = self.owner * self.longest + self.positions
        self._blocks: dict[int, list[Layout]] = {}
        self._biases: dict[tuple[int, bool, int | None], Tensor] = {}

    def blocks(self, multiple: int) -> "list[Layout]":
        """Return a layout for each run of neighbours whose lengths round up to the same multiple.

        That multiple is the width of the run's block.
        """
        if multiple not in self._blocks:
            widths = [-(-length // multiple) * multiple for length in self.lengths]
            runs = [(width, len(list(run))) for width, run in groupby(widths)]
            lengths = torch.tensor(self.lengths, device=self.mask.device)
            parts = torch.split(lengths, [num for _, num in runs])
            self._blocks[multiple] = [
                Layout(part, width) for part, (width, _) in zip(parts, runs, strict=True)
            ]
        return self._blocks[multiple]

    def pad(self, tokens: Tensor) -> Tensor:
        """Scatter tokens [M, ...] into a block [N, L, ...], with zeros behind each sequence."""
        shape = (*self.mask.shape, *tokens.shape[1:])
        if self.is_full:
            return tokens.view(shape)
        block = tokens.new_zeros(self.mask.numel(), *tokens.shape[1:])
        return block.index_copy(0, self._slots, tokens).view(shape)

    def unpad(self, block: Tensor) -> Tensor:
        """Gather the tokens [M, ...] of a block [N, L, ...]."""
        tokens = block.flatten(0, 1)
        return tokens if self.is_full else tokens.index_select(0, self._slots)

    def bias(self, heads: int, causal: bool, window: int | None) -> Tensor:
        """Return the bias [bins * H, width, width] of bins: 0 where a query sees a key, else -inf.

        A query sees keys of its own sequence only.
        """
        if (heads, causal, window) not in self._biases:
            owner = self.owner.view(-1, self.bin_width)
            places = self.positions.view(-1, self.bin_width)
            seen = owner[:, :, None] == owner[:, None]
            seen &= _within(places[:, None] - places[:, :, None], causal, window)
            bias = torch.zeros(seen.shape).masked_fill_(~seen, float("-inf"))
            self._biases[heads, causal, window] = bias.repeat_interleave(heads, 0)
        return self._biases[heads, causal, window]

    def reach(self, causal: bool, window: int | None) -> Tensor | None:
        """Return the mask [N or 1, 1, L or 1, L] of the keys that a query sees.

        None means that a query sees all keys, or, if `causal`, all that precede it. With a `window`
        it sees keys less than that far away. Padding stands at the end, so no causal query sees it.
        Queries that are padding see everything, because seeing nothing would give NaN.
        """
        keys = None if self.is_full else self.mask[:, None, None]
        if window is None or window >= self.longest:
            return None if causal else keys
        places = torch.arange(self.longest, device=self.mask.device)
        near = _within(places - places[:, None], causal, window)[None, None]
        return near if keys is None else keys & near | ~self.mask[:, None, :, None]


def in_order(lengths: list[int]) -> tuple[list[int], list[int], int]:
    """Arrange sequences by length; return the same as `in_bins`, with a width of 0."""
    rest = -sum(lengths) % _ROW_MULTIPLE
    filled = [*lengths, rest] if rest else lengths
    return filled, sorted(range(len(filled)), key=filled.__getitem__), 0


def in_bins(lengths: list[int]) -> tuple[list[int], list[int], int]:
    """Arrange sequences in bins; return the lengths with those of filler, the order, and the width.

    The order is that of all sequences, filler included; the width is that of a bin. Bins suit short
    sequences only: long ones would leave too much of a bin empty, or make the bins too wide.
    """
    # Of all numbers of bins choose the one that makes the shortest row.
    total, longest = sum(lengths), max(lengths)
    choices = (_share(lengths, num) for num in range(-(-total // (2 * BIN)), -(-total // BIN) + 1))
    bins, width = min(choices, key=lambda choice: (len(choice[0]) * choice[1], choice[1]))

    # Fill each bin up with sequences no longer than the longest, so that the model has their
    # positions.
    filled, order = list(lengths), []
    for members in bins:
        order += members
        rest = width - sum(lengths[number] for number in members)
        while rest:
            order.append(len(filled))
            filled.append(min(rest, longest))
            rest -= filled[-1]
    return filled, order, width


def _within(ahead: Tensor, causal: bool, window: int | None) -> Tensor:
    """Return where a query may see the key that is `ahead` tokens after it in its sequence."""
    seen = ahead <= 0 if causal else torch.ones_like(ahead, dtype=torch.bool)
    return seen if window is None else seen & (ahead.abs() < window)


def _share(lengths: list[int], num: int) -> tuple[list[list[int]], int]:
    """Distribute sequences over bins, the longest first to the emptiest; return bins and width."""
    bins: list[list[int]] = [[] for _ in range(num)]
    loads = [(0, number) for number in range(num)]

    for sequence in sorted(range(len(lengths)), key=lambda number: -lengths[number]):
        load, emptiest = loads[0]
        bins[emptiest].append(sequence)
        heapreplace(loads, (load + lengths[sequence], emptiest))

    multiple = _ROW_MULTIPLE // gcd(num, _ROW_MULTIPLE)
    return bins, -(-max(loads)[0] // multiple) * multiple
