"""Readers of clinical notes: chunks for a text encoder, or token ids for the backbone itself."""

import random
import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import polars as pl
import torch
from meds.schema import DataSchema
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from clintune.contracts import Item, Pieces
from clintune.core.errors import ConfigError, DataError, WeightsError
from clintune.core.seeding import derive_seed
from clintune.modalities.readers import ItemReader, claimed
from clintune.weights import ResolvedWeights

# A character is visible if it is neither space, control, format, mark nor private (Unicode Z, Cc,
# Cf, M, Co), nor the sign of a lost character, nor a blank letter (fillers of Hangul, Braille).
_VISIBLE = r"[^\s\p{Z}\p{Cc}\p{Cf}\p{M}\p{Co}\x{FFFD}\x{115F}\x{1160}\x{3164}\x{FFA0}\x{2800}]"

_SPACES = re.compile(r"\s+")
_SENTENCE_ENDS = (".", "!", "?")


class TextReader(ItemReader):
    """Base of readers of text; `build` of the modality gives it the `tokenizer`."""

    tokenizer: PreTrainedTokenizerBase

    def row_filter(self) -> pl.Expr:
        """Select rows with text that is not blank, of `codes` alone unless it is None."""
        text = pl.col(DataSchema.text_value_name)
        return claimed(text.str.contains(_VISIBLE).fill_null(False), self.codes)

    @classmethod
    def fake(cls, folder: Path, n: int, seed: int) -> list[Item]:
        """Return notes of a few made-up sentences."""
        return _fake_notes(n, seed)


class ChunkReader(TextReader):
    """A reader that cuts a note into chunks of `chunk_tokens`, each one piece.

    `chunk: sentences` fills chunks with whole sentences and cuts only a longer sentence; `tokens`
    cuts anywhere. Neighbours of one cut share `overlap_tokens`.
    Pieces: `input_ids` and `attention_mask`, both [P, L].
    """

    def __init__(
        self,
        *,
        chunk: Literal["sentences", "tokens"],
        chunk_tokens: int,
        overlap_tokens: int,
        max_pieces: int,
        codes: Sequence[str] | None = None,
    ) -> None:
        super().__init__(max_pieces=max_pieces, codes=codes)
        self.chunk = chunk
        self.chunk_tokens = chunk_tokens
        self.overlap_tokens = overlap_tokens

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

    def check_chunks(self, positions: int | None) -> None:
        """Raise ConfigError for chunks with nothing new, or longer than the encoder can read.

        `positions` is the longest text that the encoder takes, in tokens.
        """
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


class TokenReader(TextReader):
    """A reader of notes as token ids, each one piece of the budget; the newest ids are kept.

    Each note ends with the tokenizer's separator. Pieces: `ids` [P].
    """

    def preprocess(self, item: Item, view: int = 0) -> Pieces:
        """Tokenize one note; keep the end of a note longer than the budget."""
        ids = self.tokenizer(_text(item), add_special_tokens=False, verbose=False)["input_ids"]
        end = self.tokenizer.sep_token_id
        end = self.tokenizer.eos_token_id if end is None else end
        whole = [*ids, *([] if end is None else [end])]

        kept = torch.tensor(whole[-self.max_pieces :], dtype=torch.int64)
        hours = torch.full((len(kept),), item.hours)
        return Pieces(tensors={"ids": kept}, hours=hours, left_out=len(whole) - len(kept))


def split_sentences(text: str) -> list[str]:
    """Cut text after the spaces that follow a full stop, `!` or `?`, or that hold a line end."""
    ends = [
        spaces.end()
        for spaces in _SPACES.finditer(text)
        if "\n" in spaces.group() or text.endswith(_SENTENCE_ENDS, 0, spaces.start())
    ]
    return [text[start:stop] for start, stop in pairwise(sorted({0, *ends, len(text)}))]


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
