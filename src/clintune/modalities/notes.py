"""Clinical notes: chunks of text through a text encoder, or token ids for the backbone itself."""

from collections.abc import Mapping
from functools import partial
from typing import Any, Literal

from torch import Tensor
from transformers import PreTrainedModel

from clintune.layers.varlen import is_packed, pack_model, run_packed
from clintune.layers.varlen_layout import Layout
from clintune.modalities.base import Modality, Mode, load_encoder
from clintune.modalities.note_readers import ChunkReader, TokenReader, load_tokenizer
from clintune.weights import (
    ResolvedWeights,
    drop_unused,
    load_transformer,
    origin_of,
    resolve,
    resolve_or_random,
)
from clintune.weights.positions import max_positions


class Notes(Modality):
    """Notes as chunks, each chunk one piece and one token: the encoder's embedding of it.

    `source` is any Hugging Face text encoder, or `random` with `config`; `tokenizer` then names a
    source with a tokenizer. `codes` narrows which rows with text are notes. ChunkReader says how
    notes are cut.
    """

    reader: ChunkReader

    def __init__(
        self,
        *,
        source: str,
        revision: str | None = None,
        sha256: str | None = None,
        config: dict[str, Any] | None = None,
        tokenizer: str | None = None,
        codes: list[str] | None = None,
        chunk: Literal["sentences", "tokens"] = "sentences",
        chunk_tokens: int = 64,
        overlap_tokens: int = 8,
        pooling: Literal["mean", "cls"] = "mean",
        mode: Mode = "frozen",
        max_pieces: int = 16,
    ) -> None:
        reader = ChunkReader(
            chunk=chunk,
            chunk_tokens=chunk_tokens,
            overlap_tokens=overlap_tokens,
            max_pieces=max_pieces,
            codes=codes,
        )
        super().__init__(reader, mode=mode)
        self.find_weights = partial(
            resolve_or_random, source, config=config, revision=revision, sha256=sha256
        )
        self.tokenizer = tokenizer
        self.pooling = pooling

    def build(self, statistics: Mapping[str, Any]) -> None:
        """Load tokenizer and encoder."""
        weights = self.find_weights()
        other = None if self.tokenizer is None else resolve(self.tokenizer)
        self.reader.tokenizer = load_tokenizer(other or weights)
        self.encoder = load_encoder(self.mode, _load_text_encoder, weights)
        self.width = self.encoder.config.hidden_size

        self.origin = origin_of(weights)
        if other is not None:
            self.origin["tokenizer"] = other.record()
        self.reader.check_chunks(max_positions(self.encoder))

    def encode(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """Encode chunks to one token each, [P, 1, W]."""
        mask = tensors["attention_mask"]
        hidden = self._hidden(tensors["input_ids"], mask)
        if self.pooling == "cls":
            return hidden[:, :1]
        weights = mask[:, : hidden.shape[1], None].to(hidden.dtype)
        return ((hidden * weights).sum(1) / weights.sum(1)).unsqueeze(1)

    def _hidden(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return the encoder's hidden states [P, L, W] of ids [P, L].

        A packed encoder does not compute the padding; L is then the longest chunk.
        """
        if not is_packed(self.encoder):
            hidden: Tensor = self.encoder(input_ids=ids, attention_mask=mask).last_hidden_state
            return hidden

        lengths = mask.sum(1)
        layout = Layout(lengths)
        packed = layout.unpad(ids[:, : layout.longest])
        return layout.pad(run_packed(self.encoder, lengths, input_ids=packed))


class NativeNotes(Modality):
    """Notes as token ids of the backbone's own vocabulary, as TokenReader makes them.

    `source` is the backbone's, for its tokenizer.
    """

    reader: TokenReader
    native = True

    def __init__(
        self,
        *,
        source: str,
        revision: str | None = None,
        codes: list[str] | None = None,
        mode: Mode = "frozen",
        max_pieces: int = 128,
    ) -> None:
        super().__init__(TokenReader(max_pieces=max_pieces, codes=codes), mode=mode)
        self.source = source
        self.revision = revision

    def build(self, statistics: Mapping[str, Any]) -> None:
        """Load the tokenizer; the encoder is the backbone."""
        weights = resolve(self.source, revision=self.revision)
        self.reader.tokenizer = load_tokenizer(weights)
        self.origin = weights.record()

    def token_ids(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """Return the ids [P]."""
        return tensors["ids"]


def _load_text_encoder(weights: ResolvedWeights | Mapping[str, Any]) -> PreTrainedModel:
    model = load_transformer(weights)
    encoder: PreTrainedModel = model.get_encoder() if model.config.is_encoder_decoder else model
    drop_unused(encoder, "pooler")
    pack_model(encoder)
    return encoder
