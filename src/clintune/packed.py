"""Transformers without padding: sequences stand one behind the other in a single row, and only attention parts them.

Shapes: N sequences, L longest of them, M tokens of all, H heads, E width of a head, W width of the model.
"""

import inspect
from collections.abc import Callable
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
_SHORT = 32
"""Longest sequence, in tokens, that counts as short."""
_MULTIPLE = 8
"""Of the tokens in a row: tensor cores want it, and a CPU makes kernels for each number of tokens that it meets."""
_HAS_VARLEN = {"scale", "window_size", "enable_gqa"} <= inspect.signature(varlen.varlen_attn).parameters.keys()


class Layout:
    """Where N sequences of these `lengths` (int64 [N], each 1 or more) stand in one row of M tokens.

    The indexes that attention needs are made once for all layers: `positions` [M] count from 0 in each sequence,
    `starts` int32 [N + 1] bound the sequences, `mask` [N, L] is true where a padded block holds a token.
    """

    def __init__(self, lengths: Tensor) -> None:
        self.lengths: list[int] = lengths.tolist()
        self.longest = max(self.lengths)
        total, device = sum(self.lengths), lengths.device
        ends = lengths.cumsum(0)
        rows = torch.arange(len(lengths), device=device).repeat_interleave(lengths, output_size=total)
        self.positions = torch.arange(total, device=device) - (ends - lengths)[rows]
        self.starts = pad(ends, (1, 0)).int()
        self.mask = torch.arange(self.longest, device=device) < lengths[:, None]
        self._slots = rows * self.longest + self.positions

    def pad(self, tokens: Tensor) -> Tensor:
        """Spread tokens [M, ...] over a block [N, L, ...] with zeros behind each sequence."""
        block = tokens.new_zeros(self.mask.numel(), *tokens.shape[1:])
        return block.index_copy(0, self._slots, tokens).view(*self.mask.shape, *tokens.shape[1:])

    def unpad(self, block: Tensor) -> Tensor:
        """Take the tokens [M, ...] out of a block [N, L, ...]."""
        return block.flatten(0, 1).index_select(0, self._slots)

    def window(self, causal: bool, width: int) -> Tensor:
        """Return the mask [L, L] of the keys less than `width` away from a query, and where `causal` not ahead."""
        places = torch.arange(self.longest, device=self.mask.device)
        ahead = places - places[:, None]
        return (ahead.abs() < width) & ((ahead <= 0) if causal else True)


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

    Returns the last hidden states [M, W]. Where M is no multiple of 8, one more sequence fills the row.
    """
    total = len(next(iter(tokens.values())))
    rest = -total % _MULTIPLE
    layout = Layout(pad(lengths, (0, 1), value=rest) if rest else lengths)
    rows = {name: pad(values, (0, 0) * (values.ndim - 1) + (0, rest))[None] for name, values in tokens.items()}
    # transformers hands a mask of four axes down as it is, and so makes none of M x M; attention reads the layout.
    unread = layout.mask.new_empty(1, 1, 1, 1)
    options = {"position_ids": layout.positions[None], "layout": layout, "use_cache": False, "return_dict": True}
    output = model(**rows, attention_mask=unread, **options)
    return output.last_hidden_state[0, :total]  # type: ignore[no-any-return]


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
        # With dropout a CPU has no fused kernel, and the small ones of many short sequences cost more than padding.
        alone = query.is_cpu and not torch.compiler.is_compiling() and (dropout == 0 or layout.longest > _SHORT)
        attend = _attend_each if alone else _attend_padded
        attended = attend(query, key, value, layout, causal, sliding_window, scaling, dropout)
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


def _attend_each(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    layout: Layout,
    causal: bool,
    window: int | None,
    scaling: float | None,
    dropout: float,
) -> Tensor:
    """Attend sequence by sequence: on a CPU, where starting a kernel costs little, faster than most padded blocks."""
    parts = []
    near = None if window is None or window >= layout.longest else layout.window(causal, window)
    for q, k, v in zip(*(torch.split(part, layout.lengths, dim=2) for part in (query, key, value)), strict=True):
        size = q.shape[2]
        mask = None if near is None else near[:size, :size]
        whole = causal and mask is None
        parts.append(
            scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout, is_causal=whole, scale=scaling)
        )
    return torch.cat(parts, dim=2).transpose(1, 2)


def _attend_padded(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    layout: Layout,
    causal: bool,
    window: int | None,
    scaling: float | None,
    dropout: float,
) -> Tensor:
    """Attend in one padded block [N, H, L, E]: where neither kernel serves, and in compiled graphs."""
    q, k, v = (layout.pad(part[0].transpose(0, 1)).transpose(1, 2) for part in (query, key, value))
    mask = None
    if window is not None or not causal:  # padding stands behind, so that a causal query never sees it
        keys = layout.mask[:, None, None]
        mask = keys if window is None else keys & layout.window(causal, window) | ~layout.mask[:, None, :, None]
    block = scaled_dot_product_attention(
        q, k, v, attn_mask=mask, dropout_p=dropout, is_causal=mask is None, scale=scaling
    )
    return layout.unpad(block.transpose(1, 2))[None]


_register: Callable[[str, Any], None] = AttentionInterface.register
_register(_NAME, packed_attention)
AttentionMaskInterface.register(_NAME, sdpa_mask)
