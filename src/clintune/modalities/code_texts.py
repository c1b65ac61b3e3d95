"""What codes say by their own letters: the note encoder's embedding of them, so that unknown codes mean something."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from clintune.modalities.event_statistics import SEPARATOR
from clintune.modalities.notes import load_tokenizer
from clintune.weights import load_transformer, resolve

WIDTH = 64
"""Numbers that are kept of an embedding: they travel with every event."""
_SOURCE = "bundled:minilm"
_TOGETHER = 256
_LONGEST = 32
_SEED = 0


def text_vectors(codes: Sequence[str]) -> NDArray[np.float32]:
    """Return a vector of each code's text [C, WIDTH], of length about one in every entry.

    They are the mean embeddings of the words, turned and cut by one fixed random projection, which keeps what is alike
    alike.
    """
    tokenizer, encoder = _load()
    texts = [code.replace(SEPARATOR, " ").replace("_", " ") for code in codes]
    parts = [
        _embed(tokenizer, encoder, texts[start : start + _TOGETHER])
        for start in range(0, len(texts), _TOGETHER)
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
        list(texts), padding=True, truncation=True, max_length=_LONGEST, return_tensors="pt"
    )
    hidden = encoder(
        input_ids=given["input_ids"], attention_mask=given["attention_mask"]
    ).last_hidden_state
    mask = given["attention_mask"][..., None]
    means: NDArray[np.float64] = ((hidden * mask).sum(1) / mask.sum(1)).double().numpy()
    return means
