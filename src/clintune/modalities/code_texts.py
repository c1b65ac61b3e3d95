"""Embed the text of codes with the note encoder, so that unknown codes mean something."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from clintune.modalities.event_statistics import SEPARATOR
from clintune.modalities.note_readers import load_tokenizer
from clintune.weights import load_transformer, resolve

WIDTH = 64
"""Width of a code's vector. It is small because the vector travels with every event."""
_SOURCE = "bundled:minilm"
_BATCH_SIZE = 256
_MAX_TOKENS = 32
_SEED = 0


def text_vectors(codes: Sequence[str]) -> NDArray[np.float32]:
    """Return a vector of each code's text [C, WIDTH], whose entries are about one in size.

    A vector is the mean embedding of the words under a fixed random projection. The projection
    keeps similar codes similar.
    """
    tokenizer, encoder = _load()
    texts = [code.replace(SEPARATOR, " ").replace("_", " ") for code in codes]

    # Embed the texts in batches, and scale each embedding to length 1.
    parts = [
        _embed(tokenizer, encoder, texts[start : start + _BATCH_SIZE])
        for start in range(0, len(texts), _BATCH_SIZE)
    ]
    whole = np.concatenate(parts) if parts else np.empty((0, encoder.config.hidden_size))
    whole = whole / np.maximum(np.linalg.norm(whole, axis=1, keepdims=True), 1e-9)

    projection = np.random.default_rng(_SEED).standard_normal((whole.shape[1], WIDTH))
    vectors: NDArray[np.float32] = (whole @ projection).astype(np.float32)
    return vectors


@lru_cache(maxsize=1)
def _load() -> tuple[PreTrainedTokenizerBase, PreTrainedModel]:
    weights = resolve(_SOURCE)
    return load_tokenizer(weights), load_transformer(weights).train(False)


@torch.no_grad()
def _embed(
    tokenizer: PreTrainedTokenizerBase, encoder: PreTrainedModel, texts: Sequence[str]
) -> NDArray[np.float64]:
    """Return the mean hidden state of each text [T, W]."""
    given = tokenizer(
        list(texts), padding=True, truncation=True, max_length=_MAX_TOKENS, return_tensors="pt"
    )
    ids, attention_mask = given["input_ids"], given["attention_mask"]
    hidden = encoder(input_ids=ids, attention_mask=attention_mask).last_hidden_state

    mask = attention_mask[..., None]
    means: NDArray[np.float64] = ((hidden * mask).sum(1) / mask.sum(1)).double().numpy()
    return means
