"""Attention within the sequences of a row: device, precision, dropout and layout choose the kernel.

Shapes: M tokens of all sequences, H heads, E width of a head, L tokens of the longest sequence.
"""

import inspect
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn.attention import varlen
from torch.nn.functional import scaled_dot_product_attention
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward

from clintune.layers.dropout import dropout as drop
from clintune.layers.varlen_layout import Layout

_BLOCK_MULTIPLE = 8
"""Width of a block is a multiple of this where padding costs less than many small blocks."""
_HAS_VARLEN = {"scale", "window_size"} <= inspect.signature(varlen.varlen_attn).parameters.keys()


class Rule(NamedTuple):
    """Which keys a query sees in its sequence, and the scale of the scores (None: the usual)."""

    causal: bool
    window: int | None
    scaling: float | None


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
    """Attend within each sequence, [1, H, M, E] to [1, M, H, E].

    Without a layout this is the SDPA attention of transformers.
    """
    causal: bool = getattr(module, "is_causal", True) if is_causal is None else is_causal
    if layout is None:
        options |= {"dropout": dropout, "scaling": scaling, "is_causal": causal}
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)

    # Under autocast, rotary embeddings and norms leave queries and keys in float32.
    if torch.is_autocast_enabled(query.device.type):
        dtype = torch.get_autocast_dtype(query.device.type)
        query, key, value = query.to(dtype), key.to(dtype), value.to(dtype)
    groups = query.shape[1] // key.shape[1]
    key, value = repeat_kv(key, groups), repeat_kv(value, groups)

    # Choose the kernel.
    rule = Rule(causal, sliding_window, scaling)
    if dropout == 0 and _takes_varlen(query):
        return _attend_varlen(query, key, value, layout, rule), None
    on_cpu = query.is_cpu and not torch.compiler.is_compiling()
    if layout.bin_width and on_cpu:
        return _attend_bins(query, key, value, layout, rule, dropout), None

    # The fused CPU kernel takes blocks without padding. It takes no dropout: then few blocks are
    # best.
    blocks = layout.blocks(_BLOCK_MULTIPLE if dropout else 1) if on_cpu else [layout]
    return _attend_blocks(query, key, value, blocks, rule, dropout), None


def _takes_varlen(query: Tensor) -> bool:
    """Return whether torch's kernel for sequences of different lengths takes these queries."""
    if not (_HAS_VARLEN and query.is_cuda and query.dtype in {torch.float16, torch.bfloat16}):
        return False
    fits = query.shape[-1] % 8 == 0 and query.shape[-1] <= 256
    return fits and torch.cuda.get_device_capability(query.device) >= (8, 0)


def _attend_varlen(query: Tensor, key: Tensor, value: Tensor, layout: Layout, rule: Rule) -> Tensor:
    """Attend with the kernel that reads the bounds of the sequences: no copies, no padding."""
    reach = -1 if rule.window is None else rule.window - 1
    attended = varlen.varlen_attn(
        query[0].transpose(0, 1),
        key[0].transpose(0, 1),
        value[0].transpose(0, 1),
        layout.starts,
        layout.starts,
        layout.longest,
        layout.longest,
        scale=rule.scaling,
        window_size=(reach, 0 if rule.causal else reach),
    )
    return cast(Tensor, attended)[None]


def _attend_bins(
    query: Tensor, key: Tensor, value: Tensor, layout: Layout, rule: Rule, dropout: float
) -> Tensor:
    """Attend by the definition, in float32, within bins [bins * H, width, E].

    That takes a few small kernels and no padding.
    """
    # Lay the heads of each bin side by side.
    heads, width = query.shape[1], query.shape[3]
    binned = (
        part[0].transpose(0, 1).view(-1, layout.bin_width, heads, width)
        for part in (query, key, value)
    )
    q, k, v = (part.transpose(1, 2).float().reshape(-1, layout.bin_width, width) for part in binned)

    scale = width**-0.5 if rule.scaling is None else rule.scaling
    with torch.autocast("cpu", enabled=False):
        bias = layout.bias(heads, rule.causal, rule.window)
        scores = torch.baddbmm(bias, q, k.transpose(1, 2), alpha=scale)
        attended = torch.bmm(drop(scores.softmax(-1), dropout), v)

    by_bin = attended.view(-1, heads, layout.bin_width, width).transpose(1, 2)
    return by_bin.reshape(1, -1, heads, width).to(query.dtype)


def _attend_blocks(
    query: Tensor, key: Tensor, value: Tensor, blocks: list[Layout], rule: Rule, dropout: float
) -> Tensor:
    """Attend block by block [n, H, L, E], where no other kernel serves, and in compiled graphs."""
    totals = [block.total for block in blocks]
    parts = (torch.split(part[0].transpose(0, 1), totals) for part in (query, key, value))

    attended = []
    for block, *tokens in zip(blocks, *parts, strict=True):
        q, k, v = (block.pad(part).transpose(1, 2) for part in tokens)
        mask = block.reach(rule.causal, rule.window)
        whole = rule.causal and mask is None
        found = scaled_dot_product_attention(
            q, k, v, attn_mask=mask, dropout_p=dropout, is_causal=whole, scale=rule.scaling
        )
        attended.append(block.unpad(found.transpose(1, 2)))
    return torch.cat(attended)[None]
