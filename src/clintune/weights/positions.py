"""The token positions that a transformer was pretrained with: the first, and how many there are."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def first_position(model: "PreTrainedModel") -> int:
    """Return the position of the first token.

    RoBERTa and its kin keep the rows of their table up to that of padding for padding. Others hold
    a buffer of positions, whose first entry is the first position.
    """
    from torch import nn

    # Find the padding rows of the tables, and the buffers of positions.
    tables = [part for name, part in model.named_modules() if name.endswith("position_embeddings")]
    padding = [
        part.padding_idx
        for part in tables
        if isinstance(part, nn.Embedding) and part.padding_idx is not None
    ]
    buffers = [held for name, held in model.named_buffers() if name.endswith("position_ids")]
    listed = [int(held.flatten()[0]) for held in buffers]
    return max(*(number + 1 for number in padding), *listed, 0, 0)


def max_positions(model: "PreTrainedModel") -> int | None:
    """Return how many tokens have a position; None for a family without a maximum.

    Such families are T5, BLOOM and Mamba.
    """
    most = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    return None if most is None or most < 0 else int(most) - first_position(model)
