"""Models that run without padding, and the function that runs one.

Shapes: N sequences, M tokens of all sequences, W width of the model.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import pad
from transformers import AttentionInterface, PreTrainedModel
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from clintune.layers.varlen_attention import packed_attention
from clintune.layers.varlen_layout import BIN, Layout, in_bins, in_order

FAMILIES = {
    "bert",
    "distilbert",
    "electra",
    "gemma3_text",
    "llama",
    "mistral",
    "modernbert",
    "qwen2",
    "qwen3",
}
"""Model types that run without padding; each is tested against its padded run.

They pass keyword arguments to their attention, count positions from 0, and do nothing else across
tokens.
"""

_NAME = "clintune_packed"


def pack_model(model: PreTrainedModel) -> None:
    """Set the attention that needs no padding, on a model whose family can run without.

    Calls with padding give the same results as before.
    """
    # A decoder whose config makes it attend both ways keeps its padding: its layers still call
    # themselves causal.
    if model.config.model_type in FAMILIES and getattr(model.config, "is_causal", True):
        model.set_attn_implementation(_NAME)


def is_packed(model: Any) -> bool:
    """Return whether `run_packed` can run the model, which may be wrapped by PEFT."""
    return bool(model.config._attn_implementation == _NAME)


def run_packed(model: nn.Module, lengths: Tensor, **tokens: Tensor) -> Tensor:
    """Run a model on sequences without padding, and return the last hidden states [M, W].

    The tokens are `input_ids` [M] or `inputs_embeds` [M, W] of sequences of these `lengths` (int64
    [N]). Sequences of filler extend the row to a multiple of 16 tokens. On a CPU short sequences
    stand in bins. All others stand in order of length: on a CPU neighbours of like length attend
    together.
    """
    ((name, given),) = tokens.items()
    total = len(given)

    # Choose an arrangement. Zero times a number that is not finite is not zero: in a bin it would
    # spill over to the other sequences.
    short = given.is_cpu and int(lengths.max()) <= BIN and bool(given.detach().sum().isfinite())
    filled, standing, bin_width = (in_bins if short else in_order)(lengths.tolist())
    lengths, order = lengths.new_tensor(filled), lengths.new_tensor(standing)
    layout = Layout(lengths[order], bin_width=bin_width)

    # Put the tokens in that order, with filler behind them.
    places = (lengths.cumsum(0) - lengths)[order][layout.owner] + layout.positions
    padded = pad(given, (0, 0) * (given.ndim - 1) + (0, layout.total - total))
    row = padded.index_select(0, places)[None]

    # transformers passes a mask of four axes on as it is, so it makes none of M x M. The attention
    # reads the layout instead.
    unread = layout.mask.new_empty(1, 1, 1, 1)
    options = {
        "position_ids": layout.positions[None],
        "layout": layout,
        "use_cache": False,
        "return_dict": True,
    }
    output = model(**{name: row}, attention_mask=unread, **options)
    hidden: Tensor = output.last_hidden_state[0].index_select(0, places.argsort()[:total])
    return hidden


_register: Callable[[str, Any], None] = AttentionInterface.register
_register(_NAME, packed_attention)
AttentionMaskInterface.register(_NAME, sdpa_mask)
