"""Transformers without padding: sequences stand one behind the other in a single row, and only attention parts them.

Shapes: N sequences, L longest of them, M tokens of all, H heads, E width of a head, W width of the model.
"""

import inspect
from collections.abc import Callable
from itertools import groupby
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.attention import varlen
from torch.nn.functional import pad, scaled_dot_product_attention
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

FAMILIES = {"bert", "distilbert", "electra", "gemma3_text", "llama", "mistral", "modernbert", "qwen2", "qwen3"}
"""Model types that run without padding, each tested against its padded self: they hand keyword arguments down to
their attention, count positions from 0 and do nothing else across tokens."""

_NAME = "clintune_packed"
_ROW_MULTIPLE = 16
"""Of the tokens in a row: tensor cores and AMX tiles want it, and a CPU makes kernels for each number that it meets."""
_BLOCK_MULTIPLE = 8
"""Of the tokens in a sequence's place in a block, where padding costs less than many small blocks."""
_HAS_VARLEN = {"scale", "window_size", "enable_gqa"} <= inspect.signature(varlen.varlen_attn).parameters.keys()


class Layout:
    """Where N sequences of these `lengths` (int64 [N], each 1 or more) stand in one row of M tokens.

    The indexes that attention needs are made once for all layers: `rows` [M] are the sequences that tokens belong to,
    `positions` [M] count from 0 in each, `starts` int32 [N + 1] bound them, `mask` [N, L] is true where a padded block
    holds a token. The block is `longest` tokens wide, by default as wide as it must be; `is_full` if it has no padding.
    """

    def __init__(self, lengths: Tensor, longest: int | None = None) -> None:
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

    Returns the last hidden states [M, W]. Where M is no multiple of 16, one more sequence fills the row. It is run with
    the short sequences first, since on a CPU neighbours of like length attend together.
    """
    total = len(next(iter(tokens.values())))
    rest = -total % _ROW_MULTIPLE
    if rest:
        lengths = pad(lengths, (0, 1), value=rest)
    order = lengths.argsort(stable=True)
    layout = Layout(lengths[order])
    places = (lengths.cumsum(0) - lengths)[order][layout.rows] + layout.positions
    rows = {
        name: pad(values, (0, 0) * (values.ndim - 1) + (0, rest)).index_select(0, places)[None]
        for name, values in tokens.items()
    }
    # transformers hands a mask of four axes down as it is, and so makes none of M x M; attention reads the layout.
    unread = layout.mask.new_empty(1, 1, 1, 1)
    options = {"position_ids": layout.positions[None], "layout": layout, "use_cache": False, "return_dict": True}
    output = model(**rows, attention_mask=unread, **options)
    return output.last_hidden_state[0].index_select(0, places.argsort()[:total])  # type: ignore[no-any-return]


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
        blocks = [layout]
        if query.is_cpu and not torch.compiler.is_compiling():
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
