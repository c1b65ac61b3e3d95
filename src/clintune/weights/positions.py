"""The positions of tokens that a transformer was pretrained with: where they begin, and how many there are."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def first_position(model: "PreTrainedModel") -> int:
    """Return the position of the first token.

    RoBERTa and its kin keep the rows up to that of padding for padding; others hold the positions that they begin with.
    """
    from torch import nn

    tables = [part for name, part in model.named_modules() if name.endswith("position_embeddings")]
    padding = [
        part.padding_idx
        for part in tables
        if isinstance(part, nn.Embedding) and part.padding_idx is not None
    ]
    listed = [
        int(held.flatten()[0])
        for name, held in model.named_buffers()
        if name.endswith("position_ids")
    ]
    return max(*(number + 1 for number in padding), *listed, 0, 0)


def max_positions(model: "PreTrainedModel") -> int | None:
    """Return how many tokens have a position; None for families without a maximum, as T5, BLOOM and Mamba."""
    most = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    return None if most is None or most < 0 else int(most) - first_position(model)
