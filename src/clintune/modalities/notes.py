"""Clinical notes: chunks of text through a text encoder, or token ids for the backbone itself."""

import random
import re
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import polars as pl
import torch
from meds.schema import DataSchema
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from clintune.contracts import Item, Pieces
from clintune.core.errors import ConfigError, DataError, WeightsError
from clintune.core.seeding import derive_seed
from clintune.layers.varlen import is_packed, pack_model, run_packed
from clintune.layers.varlen_layout import Layout
from clintune.modalities.base import Modality, Mode, claimed, load_encoder
from clintune.weights import (
    ResolvedWeights,
    drop_unused,
    load_transformer,
    resolve,
    resolve_or_random,
)
from clintune.weights.positions import max_positions

# A character is visible if it is neither space, control, format, mark nor private (Unicode Z, Cc,
# Cf, M, Co), nor the sign of a lost character, nor a blank letter (fillers of Hangul, Braille).
_VISIBLE = r"[^\s\p{Z}\p{Cc}\p{Cf}\p{M}\p{Co}\x{FFFD}\x{115F}\x{1160}\x{3164}\x{FFA0}\x{2800}]"

_SPACES = re.compile(r"\s+")
_SENTENCE_ENDS = (".", "!", "?")


class Notes(Modality):
    """Notes as chunks, each chunk one piece and one token: the encoder's embedding of it.

    `source` is any Hugging Face text encoder, or `random` with `config`; `tokenizer` then names a
    source with a tokenizer. `chunk: sentences` fills chunks of `chunk_tokens` with whole sentences
    and cuts only a longer sentence; `tokens` cuts anywhere. Neighbours of one cut share
    `overlap_tokens`. `codes` narrows which rows with text are notes.
    Pieces: `input_ids` and `attention_mask`, both [P, L].
    """

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
        super().__init__(mode=mode, max_pieces=max_pieces, codes=codes)
        self.weights: dict[str, Any] = {
            "source": source,
            "revision": revision,
            "sha256": sha256,
            "config": config,
        }
        self.tokenizer_source = tokenizer
        self.chunk = chunk
        self.chunk_tokens = chunk_tokens
        self.overlap_tokens = overlap_tokens
        self.pooling = pooling

    def row_filter(self) -> pl.Expr:
        """Select rows with text that is not blank, of `codes` alone unless it is None."""
        return _has_text(self.codes)

    def build(self, statistics: Mapping[str, Any]) -> None:
        """Load tokenizer and encoder."""
        weights = resolve_or_random(**self.weights)
        other = None if self.tokenizer_source is None else resolve(self.tokenizer_source)
        self.tokenizer = load_tokenizer(other or weights)
        self.encoder = load_encoder(self.mode, _load_text_encoder, weights)
        self.width = self.encoder.config.hidden_size

        untrained: dict[str, Any] = {"source": "random"}
        self.source = weights.record() if isinstance(weights, ResolvedWeights) else untrained
        if other is not None:
            self.source["tokenizer"] = other.record()
        self._check_chunks(max_positions(self.encoder))

    def preprocess(self, item: Item, view: int = 0) -> Pieces:
        """Cut one note into chunks and tokenize them; keep the start of a note above the budget."""
        # Cut; the tokenizer cuts what is still longer than a chunk.
        text = _text(item)
        texts = [text] if self.chunk == "tokens" else self._merge_sentences(text)
        encoded = self.tokenizer(
            texts,
            truncation=True,
            max_length=self.chunk_tokens,
            stride=self.overlap_tokens,
            return_overflowing_tokens=True,
            padding=False,
        )

        # Pad the first chunks to the longest of them.
        ids = [torch.tensor(chunk) for chunk in encoded["input_ids"][: self.max_pieces]]
        masks = [torch.ones_like(chunk) for chunk in ids]
        tensors = {
            "input_ids": pad_sequence(ids, batch_first=True),
            "attention_mask": pad_sequence(masks, batch_first=True),
        }
        left_out = len(encoded["input_ids"]) - len(ids)
        return Pieces(tensors=tensors, hours=torch.full((len(ids),), item.hours), left_out=left_out)

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

    def settings(self) -> dict[str, Any]:
        """Return what determines the tokens beside the weights."""
        chunking = ("chunk", "chunk_tokens", "overlap_tokens", "pooling")
        names = (*chunking, "tokenizer_source", "max_pieces")
        own = {"config": self.weights["config"]} | {name: getattr(self, name) for name in names}
        return super().settings() | own

    @classmethod
    def fake(cls, folder: Path, n: int, seed: int) -> list[Item]:
        """Return notes of a few made-up sentences."""
        return _fake_notes(n, seed)

    def _merge_sentences(self, text: str) -> list[str]:
        """Join neighbouring sentences as long as they fit into one chunk together."""
        sentences = split_sentences(text)
        ids = self.tokenizer(sentences, add_special_tokens=False, verbose=False)["input_ids"]
        lengths = map(len, ids)
        room = self.chunk_tokens - self.tokenizer.num_special_tokens_to_add()

        chunks: list[str] = []
        used = room + 1  # so that the first sentence begins a chunk
        for sentence, length in zip(sentences, lengths, strict=True):
            if used + length <= room:
                chunks[-1] += sentence
                used += length
            else:
                chunks.append(sentence)
                used = length
        return chunks

    def _check_chunks(self, positions: int | None) -> None:
        """Raise ConfigError for chunks with nothing new, or longer than the encoder can read."""
        room = self.chunk_tokens - self.tokenizer.num_special_tokens_to_add()
        if self.overlap_tokens >= room:
            raise ConfigError(
                f"overlap_tokens {self.overlap_tokens} leaves nothing new in a chunk of {room}; "
                "lower it"
            )
        longest = min(positions or self.chunk_tokens, self.tokenizer.model_max_length)
        if self.chunk_tokens > longest:
            raise ConfigError(
                f"chunk_tokens {self.chunk_tokens} is more than the encoder's {longest}; lower it"
            )


class NativeNotes(Modality):
    """Notes as token ids of the backbone's own vocabulary, each id one piece of the budget.

    The newest ids are kept. `source` is the backbone's, for its tokenizer. Each note ends with the
    tokenizer's separator. Pieces: `ids` [P].
    """

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
        super().__init__(mode=mode, max_pieces=max_pieces, codes=codes)
        self.tokenizer_source = source
        self.revision = revision

    def row_filter(self) -> pl.Expr:
        """Select rows with text that is not blank, of `codes` alone unless it is None."""
        return _has_text(self.codes)

    def build(self, statistics: Mapping[str, Any]) -> None:
        """Load the tokenizer; the encoder is the backbone."""
        weights = resolve(self.tokenizer_source, revision=self.revision)
        self.tokenizer = load_tokenizer(weights)
        self.source = weights.record()

    def preprocess(self, item: Item, view: int = 0) -> Pieces:
        """Tokenize one note; keep the end of a note longer than the budget."""
        ids = self.tokenizer(_text(item), add_special_tokens=False, verbose=False)["input_ids"]
        end = self.tokenizer.sep_token_id
        end = self.tokenizer.eos_token_id if end is None else end
        whole = [*ids, *([] if end is None else [end])]

        kept = torch.tensor(whole[-self.max_pieces :], dtype=torch.int64)
        hours = torch.full((len(kept),), item.hours)
        return Pieces(tensors={"ids": kept}, hours=hours, left_out=len(whole) - len(kept))

    def token_ids(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """Return the ids [P]."""
        return tensors["ids"]

    def settings(self) -> dict[str, Any]:
        """Return what determines the ids beside the tokenizer."""
        return super().settings() | {"max_pieces": self.max_pieces}

    @classmethod
    def fake(cls, folder: Path, n: int, seed: int) -> list[Item]:
        """Return notes of a few made-up sentences."""
        return _fake_notes(n, seed)


def split_sentences(text: str) -> list[str]:
    """Cut text after the spaces that follow a full stop, `!` or `?`, or that hold a line end."""
    ends = [
        spaces.end()
        for spaces in _SPACES.finditer(text)
        if "\n" in spaces.group() or text.endswith(_SENTENCE_ENDS, 0, spaces.start())
    ]
    return [text[start:stop] for start, stop in pairwise(sorted({0, *ends, len(text)}))]


def _has_text(codes: list[str] | None) -> pl.Expr:
    text = pl.col(DataSchema.text_value_name)
    return claimed(text.str.contains(_VISIBLE).fill_null(False), codes)


def _text(item: Item) -> str:
    """Return an item's text; raises DataError where it is blank or no valid Unicode."""
    try:
        says = item.text is not None and pl.Series([item.text]).str.contains(_VISIBLE).item()
    except UnicodeEncodeError as error:
        raise DataError(
            f"{item.where}: the note holds half of a character (a lone surrogate); take it out"
        ) from error

    if item.text is None or not says:
        raise DataError(f"{item.where}: the note is blank; leave the row out or give it text")
    return item.text


def _load_text_encoder(weights: ResolvedWeights | Mapping[str, Any]) -> PreTrainedModel:
    model = load_transformer(weights)
    encoder: PreTrainedModel = model.get_encoder() if model.config.is_encoder_decoder else model
    drop_unused(encoder, "pooler")
    pack_model(encoder)
    return encoder


def load_tokenizer(weights: ResolvedWeights | Mapping[str, Any]) -> PreTrainedTokenizerBase:
    """Load the fast tokenizer beside some weights.

    Raises ConfigError for random weights, and WeightsError where no fast tokenizer can be read.
    """
    if not isinstance(weights, ResolvedWeights):
        raise ConfigError(
            "notes with source random have no tokenizer; set tokenizer to a source that has one"
        )

    try:
        tokenizer = AutoTokenizer.from_pretrained(
            weights.path, local_files_only=True, trust_remote_code=False, use_fast=True
        )
    except Exception as error:  # the library has no error of its own for a file that it cannot read
        raise WeightsError(
            f"weights {weights.source}: no tokenizer beside them; add tokenizer.json"
        ) from error

    if not tokenizer.is_fast:
        raise WeightsError(
            f"weights {weights.source}: the tokenizer is not a fast one; add tokenizer.json"
        )
    return tokenizer


_FAKE_SENTENCE = {
    "who": ["The patient", "She", "He", "The team", "The nurse on duty"],
    "does": ["reports", "denies", "was treated for", "shows signs of", "is worried about"],
    "what": [
        "fever and a dry cough",
        "chest pain on exertion",
        "shortness of breath",
        "poor sleep",
        "nausea",
    ],
    "when": [
        "since last week",
        "on arrival",
        "after the second dose",
        "during the night",
        "at rest",
    ],
}


def _fake_notes(n: int, seed: int) -> list[Item]:
    draw = random.Random(derive_seed(seed, "fake notes"))

    def sentence() -> str:
        return " ".join(map(draw.choice, _FAKE_SENTENCE.values())) + "."

    def note() -> str:
        return " ".join(sentence() for _ in range(draw.randint(1, 12)))

    texts = [note() for _ in range(n)]
    return [
        Item(
            hours=round(draw.uniform(0, 500), 2),
            code="NOTE//PROGRESS",
            where=f"fake.parquet row {row}",
            text=text,
        )
        for row, text in enumerate(texts)
    ]
