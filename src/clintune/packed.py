"""Transformers without padding: sequences stand one behind the other in a single row, and only attention parts them.

Shapes: N sequences, L longest of them, M tokens of all, H heads, E width of a head, W width of the model.
"""

import inspect
from collections.abc import Callable, Mapping
from heapq import heapreplace
from itertools import groupby
from math import gcd
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.attention import varlen
from torch.nn.functional import pad, scaled_dot_product_attention
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from clintune.core.dropout import dropout as drop

FAMILIES = {"bert", "distilbert", "electra", "gemma3_text", "llama", "mistral", "modernbert", "qwen2", "qwen3"}
"""Model types that run without padding, each tested against its padded self: they hand keyword arguments down to
their attention, count positions from 0 and do nothing else across tokens."""

_NAME = "clintune_packed"
_ROW_MULTIPLE = 16
"""Of the tokens in a row: tensor cores and AMX tiles want it, and a CPU makes kernels for each number that it meets."""
_BLOCK_MULTIPLE = 8
"""Of the tokens in a sequence's place in a block, where padding costs less than many small blocks."""
_BIN = 32
"""The longest sequences, in tokens, that a CPU lets share bins, and about the width of a bin."""
_HAS_VARLEN = {"scale", "window_size", "enable_gqa"} <= inspect.signature(varlen.varlen_attn).parameters.keys()


class Layout:
    """Where N sequences of these `lengths` (int64 [N], each 1 or more) stand in one row of M tokens.

    The indexes that attention needs are made once for all layers: `rows` [M] are the sequences that tokens belong to,
    `positions` [M] count from 0 in each, `starts` int32 [N + 1] bound them, `mask` [N, L] is true where a padded block
    holds a token. The block is `longest` tokens wide, by default as wide as it must be; `is_full` if it has no padding.
    Where the row falls into bins of equal width, each of whole sequences, `bin_width` says so; else it is 0.
    """

    def __init__(self, lengths: Tensor, longest: int | None = None, bin_width: int = 0) -> None:
        self.bin_width = bin_width
        self.lengths: list[int] = lengths.tolist()
        self.longest = max(self.lengths) if longest is None else longest
        self.total = sum(self.lengths)
        self.is_full = self.total == len(lengths) * self.longest
        device = lengths.device
        ends = lengths.cumsum(0)
        self.rows = torch.arange(len(lengths), device=device).repeat_interleave(lengths, output_size=self.total)
        self.positions = torch.arange(self.total, device=device) - (ends - lengths)[self.rows]
        self.starts = pad(ends, (1, 0)).int()
        self.mask = torch.arange(self.longest, device=device) < lengths[:, None]
        self._slots = self.rows * self.longest + self.positions
        self._blocks: dict[int, list[Layout]] = {}
        self._biases: dict[tuple[int, bool, int | None], Tensor] = {}

    def blocks(self, multiple: int) -> "list[Layout]":
        """Return the layouts of neighbours whose lengths round up to the same multiple, and stand in a block of it."""
        if multiple not in self._blocks:
            widths = [-(-length // multiple) * multiple for length in self.lengths]
            runs = [(width, len(list(run))) for width, run in groupby(widths)]
            parts = torch.split(torch.tensor(self.lengths, device=self.mask.device), [num for _, num in runs])
            self._blocks[multiple] = [Layout(part, width) for part, (width, _) in zip(parts, runs, strict=True)]
        return self._blocks[multiple]

    def pad(self, tokens: Tensor) -> Tensor:
        """Spread tokens [M, ...] over a block [N, L, ...] with zeros behind each sequence."""
        shape = (*self.mask.shape, *tokens.shape[1:])
        if self.is_full:
            return tokens.view(shape)
        block = tokens.new_zeros(self.mask.numel(), *tokens.shape[1:])
        return block.index_copy(0, self._slots, tokens).view(shape)

    def unpad(self, block: Tensor) -> Tensor:
        """Take the tokens [M, ...] out of a block [N, L, ...]."""
        tokens = block.flatten(0, 1)
        return tokens if self.is_full else tokens.index_select(0, self._slots)

    def bias(self, heads: int, causal: bool, window: int | None) -> Tensor:
        """Return [bins * H, width, width]: 0 where a query sees a key, which stands in its own sequence, else -inf."""
        if (heads, causal, window) not in self._biases:
            owner, places = self.rows.view(-1, self.bin_width), self.positions.view(-1, self.bin_width)
            seen = owner[:, :, None] == owner[:, None]
            ahead = places[:, None] - places[:, :, None]
            if window is not None:
                seen &= ahead.abs() < window
            if causal:
                seen &= ahead <= 0
            bias = torch.zeros(seen.shape).masked_fill_(~seen, float("-inf"))
            self._biases[heads, causal, window] = bias.repeat_interleave(heads, 0)
        return self._biases[heads, causal, window]

    def reach(self, causal: bool, window: int | None) -> Tensor | None:
        """Return the mask [N or 1, 1, L or 1, L] of the keys that a query sees; None for all, or all behind it.

        Where there is a `window`, keys are less than that far away. Padding stands behind, so that no causal query
        sees it; queries that are padding see everything, since seeing nothing would make NaN.
        """
        keys = None if self.is_full else self.mask[:, None, None]
        if window is None or window >= self.longest:
            return None if causal else keys
        places = torch.arange(self.longest, device=self.mask.device)
        ahead = places - places[:, None]
        near = ((ahead.abs() < window) & ((ahead <= 0) if causal else True))[None, None]
        return near if keys is None else keys & near | ~self.mask[:, None, :, None]


def pack_model(model: PreTrainedModel) -> None:
    """Give a model of a family that can run without padding the attention for it; calls with padding stay as before."""
    # A decoder whose config makes it attend both ways keeps its padding: its layers still call themselves causal.
    if model.config.model_type in FAMILIES and getattr(model.config, "is_causal", True):
        model.set_attn_implementation(_NAME)


def is_packed(model: Any) -> bool:
    """Return whether `run_packed` can run the model, which may be wrapped by PEFT."""
    return bool(model.config._attn_implementation == _NAME)


def run_packed(model: nn.Module, lengths: Tensor, **tokens: Tensor) -> Tensor:
    """Run a model on the `input_ids` [M] or `inputs_embeds` [M, W] of sequences of these `lengths` (int64 [N]).

    Returns the last hidden states [M, W]. More sequences fill the row to a multiple of 16 tokens. On a CPU short ones
    stand in bins, and others in order of length, since there neighbours of like length attend together.
    """
    in_bins = lengths.device.type == "cpu" and int(lengths.max()) <= _BIN
    hidden = _run(model, lengths, tokens, in_bins)
    if in_bins and not hidden.detach().sum().isfinite():
        # Times a weight of zero, what is not finite is not zero: it spilled over to the others of its bin.
        hidden = _run(model, lengths, tokens, in_bins=False)
    return hidden


def _run(model: nn.Module, lengths: Tensor, tokens: Mapping[str, Tensor], in_bins: bool) -> Tensor:
    total = len(next(iter(tokens.values())))
    filled, standing, bin_width = _arrange(lengths.tolist(), in_bins)
    lengths, order = lengths.new_tensor(filled), lengths.new_tensor(standing)
    layout = Layout(lengths[order], bin_width=bin_width)
    places = (lengths.cumsum(0) - lengths)[order][layout.rows] + layout.positions
    rest = layout.total - total
    rows = {
        name: pad(values, (0, 0) * (values.ndim - 1) + (0, rest)).index_select(0, places)[None]
        for name, values in tokens.items()
    }
    # transformers hands a mask of four axes down as it is, and so makes none of M x M; attention reads the layout.
    unread = layout.mask.new_empty(1, 1, 1, 1)
    options = {"position_ids": layout.positions[None], "layout": layout, "use_cache": False, "return_dict": True}
    output = model(**rows, attention_mask=unread, **options)
    return output.last_hidden_state[0].index_select(0, places.argsort()[:total])  # type: ignore[no-any-return]


def _arrange(lengths: list[int], in_bins: bool) -> tuple[list[int], list[int], int]:
    """Return the lengths and those of sequences that fill the row, the order that all stand in, and the bins' width.

    Bins are for short sequences only: others would leave too much of them empty, or want them too wide.
    """
    total, longest = sum(lengths), max(lengths)
    if not in_bins:
        filled = [*lengths, *([-total % _ROW_MULTIPLE] if total % _ROW_MULTIPLE else [])]
        return filled, sorted(range(len(filled)), key=filled.__getitem__), 0
    choices = (_share(lengths, num) for num in range(-(-total // (2 * _BIN)), -(-total // _BIN) + 1))
    bins, width = min(choices, key=lambda choice: (len(choice[0]) * choice[1], choice[1]))
    filled, order = list(lengths), []
    for members in bins:
        order += members
        rest = width - sum(lengths[number] for number in members)
        while rest:
            order.append(len(filled))
            filled.append(min(rest, longest))  # so that its positions are ones that the model has
            rest -= filled[-1]
    return filled, order, width


def _share(lengths: list[int], num: int) -> tuple[list[list[int]], int]:
    """Share sequences out to bins, the longest first to the emptiest bin; return them and the bins' width."""
    bins: list[list[int]] = [[] for _ in range(num)]
    loads = [(0, number) for number in range(num)]
    for sequence in sorted(range(len(lengths)), key=lambda number: -lengths[number]):
        load, emptiest = loads[0]
        bins[emptiest].append(sequence)
        heapreplace(loads, (load + lengths[sequence], emptiest))
    multiple = _ROW_MULTIPLE // gcd(num, _ROW_MULTIPLE)
    return bins, -(-max(loads)[0] // multiple) * multiple


def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    is_causal: bool | None = None,
    layout: Layout | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Attend within each sequence, [1, H, M, E] to [1, M, H, E]; without a layout this is the stock SDPA attention."""
    causal: bool = getattr(module, "is_causal", True) if is_causal is None else is_causal
    if layout is None:
        options |= {"dropout": dropout, "scaling": scaling, "is_causal": causal}
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    if torch.is_autocast_enabled(query.device.type):  # rotary embeddings and norms leave queries and keys in float32
        dtype = torch.get_autocast_dtype(query.device.type)
        query, key, value = query.to(dtype), key.to(dtype), value.to(dtype)
    if dropout == 0 and _takes_varlen(query):
        attended = _attend_varlen(query, key, value, layout, causal, sliding_window, scaling)
    else:
        groups = query.shape[1] // key.shape[1]
        key, value = repeat_kv(key, groups), repeat_kv(value, groups)
        on_cpu = query.is_cpu and not torch.compiler.is_compiling()
        if layout.bin_width and on_cpu:
            return _attend_bins(query, key, value, layout, causal, sliding_window, scaling, dropout), None
        blocks = [layout]
        if on_cpu:
            # The fused kernel takes blocks without padding; with dropout there is none, and then few blocks are best.
            blocks = layout.blocks(_BLOCK_MULTIPLE if dropout else 1)
        attended = _attend_blocks(query, key, value, blocks, causal, sliding_window, scaling, dropout)
    return attended, None


def _takes_varlen(query: Tensor) -> bool:
    half = query.dtype in {torch.float16, torch.bfloat16}
    if not (_HAS_VARLEN and query.is_cuda and half and query.shape[-1] % 8 == 0 and query.shape[-1] <= 256):
        return False
    return torch.cuda.get_device_capability(query.device) >= (8, 0)


def _attend_varlen(
    query: Tensor, key: Tensor, value: Tensor, layout: Layout, causal: bool, window: int | None, scaling: float | None
) -> Tensor:
    """Attend with the kernel that reads the bounds of the sequences: nothing is moved, nothing padded."""
    reach = -1 if window is None else window - 1
    attended = varlen.varlen_attn(
        query[0].transpose(0, 1),
        key[0].transpose(0, 1),
        value[0].transpose(0, 1),
        layout.starts,
        layout.starts,
        layout.longest,
        layout.longest,
        scale=scaling,
        window_size=(reach, 0 if causal else reach),
        enable_gqa=query.shape[1] != key.shape[1],
    )
    return cast(Tensor, attended)[None]


def _attend_bins(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    layout: Layout,
    causal: bool,
    window: int | None,
    scaling: float | None,
    dropout: float,
) -> Tensor:
    """Attend by the definition, in float32, within bins [bins * H, width, E]: a few small kernels, nothing padded."""
    heads, width = query.shape[1], query.shape[3]
    binned = (part[0].transpose(0, 1).view(-1, layout.bin_width, heads, width) for part in (query, key, value))
    q, k, v = (part.transpose(1, 2).float().reshape(-1, layout.bin_width, width) for part in binned)
    scale = width**-0.5 if scaling is None else scaling
    with torch.autocast("cpu", enabled=False):
        scores = torch.baddbmm(layout.bias(heads, causal, window), q, k.transpose(1, 2), alpha=scale)
        attended = torch.bmm(drop(scores.softmax(-1), dropout), v)
    return (
        attended.view(-1, heads, layout.bin_width, width).transpose(1, 2).reshape(1, -1, heads, width).to(query.dtype)
    )


def _attend_blocks(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    blocks: list[Layout],
    causal: bool,
    window: int | None,
    scaling: float | None,
    dropout: float,
) -> Tensor:
    """Attend block by block [n, H, L, E]: where the kernel for sequences does not serve, and in compiled graphs."""
    totals = [block.total for block in blocks]
    parts = (torch.split(part[0].transpose(0, 1), totals) for part in (query, key, value))
    attended = []
    for block, *tokens in zip(blocks, *parts, strict=True):
        q, k, v = (block.pad(part).transpose(1, 2) for part in tokens)
        mask = block.reach(causal, window)
        whole = causal and mask is None
        found = scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout, is_causal=whole, scale=scaling)
        attended.append(block.unpad(found.transpose(1, 2)))
    return torch.cat(attended)[None]


_register: Callable[[str, Any], None] = AttentionInterface.register
_register(_NAME, packed_attention)
AttentionMaskInterface.register(_NAME, sdpa_mask)
