"""Encoders of events: a token per event or per bin of time, alone or in the course of a sample.

Shapes: P pieces, M tokens, C codes, W width, L longest sample, N samples.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from clintune.contracts import PieceBatch, Tokens
from clintune.modalities.event_stream.reader import FACTS

Course = Literal["none", "gru", "transformer"]
"""What reads the tokens of a sample together, before the backbone does."""
_FREQUENCIES = 16
_SLOPE_STD = 0.3
"""Initial deviation of the slopes of facts; that of the codes' embeddings is 1."""


class _Grouped(NamedTuple):
    """The token of each piece [P], and the owner and the hours of each token [M]."""

    token: Tensor
    owner: Tensor
    hours: Tensor


class EventEncoder(nn.Module):
    """An encoder that embeds events, averages those of a bin, and lets a course read the tokens.

    The course, a GRU or a transformer, reads a sample's tokens in time order. A code's embedding
    is the sum over its known prefixes, so that siblings are alike and an unknown code is what its
    parents are. The events beyond the budget make one token a sample: their mean and their number.
    """

    def __init__(
        self,
        ancestors: Sequence[Sequence[int]],
        *,
        width: int,
        course: Course,
        depth: int,
        bin_hours: float | None,
        max_bins: int,
        text_width: int = 0,
    ) -> None:
        """Make the modules.

        `ancestors` [C, A] holds the numbers of each code's known prefixes, its own number among
        them, padded with 0. Number 0 is no code.
        """
        super().__init__()
        self.width = width
        self.bin_hours = bin_hours
        self.max_bins = max_bins

        # Constants that move with the module, and that no checkpoint holds.
        self.ancestors: Tensor
        numbers = torch.tensor(ancestors, dtype=torch.int64)
        self.register_buffer("ancestors", numbers, persistent=False)
        self.frequencies: Tensor
        self.register_buffer("frequencies", torch.logspace(-1, 1, _FREQUENCIES), persistent=False)

        # Each part of an event has its own embedding; `mix` refines their sum.
        self.code = nn.Embedding(len(ancestors), width)
        self.slope = nn.Embedding(len(ancestors), len(FACTS) * width)
        nn.init.normal_(self.slope.weight, std=_SLOPE_STD)
        self.text = nn.Linear(text_width, width, bias=False) if text_width else None
        self.time = nn.Linear(2 * _FREQUENCIES, width)
        self.mix = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

        # A token is the mean of its events, moved by their number.
        self.number = nn.Linear(1, width, bias=False)
        self.course = make_course(course, width, depth)

    def forward(self, pieces: PieceBatch, num_samples: int) -> Tokens:
        """Return the tokens of samples [M, W], oldest first."""
        pieces = in_time_order(pieces)
        grouped = self._group(pieces)
        tokens = self._mean(self._embed(pieces), pieces.tensors["count"], grouped)
        if self.course is not None:
            lengths = torch.bincount(grouped.owner, minlength=num_samples)
            tokens = tokens + self.course(tokens, lengths)
        return Tokens(embeddings=tokens, owner=grouped.owner, hours=grouped.hours)

    def _embed(self, pieces: PieceBatch) -> Tensor:
        """Return the embedding of each piece [P, W]."""
        tensors, width = pieces.tensors, self.width

        # The code: the sum over its known prefixes, scaled by their number.
        above = self.ancestors[tensors["code"]]
        depth = (above > 0).sum(1, keepdim=True).clamp(min=1)
        code = (self.code(above) * (above > 0)[..., None]).sum(1) / depth.sqrt()
        code = torch.where((tensors["code"] > 0)[:, None], code, self.code.weight[0])

        # Its facts, its time and its text.
        slope = self.slope(tensors["code"]).view(-1, len(FACTS), width)
        phase = torch.log1p(pieces.hours)[:, None] * self.frequencies
        event = code + torch.einsum("pf,pfw->pw", tensors["facts"], slope)
        event = event + self.time(torch.cat([phase.sin(), phase.cos()], dim=-1))
        if self.text is not None:
            event = event + self.text(tensors["text"])
        return event + self.mix(event)  # type: ignore[no-any-return]

    def _group(self, pieces: PieceBatch) -> _Grouped:
        """Assign pieces to tokens.

        The pieces of a bin share a token, and so do those beyond the budget. Without bins, each
        piece within the budget has a token of its own.
        """
        older, owner, hours = pieces.tensors["older"], pieces.owner, pieces.hours
        if self.bin_hours is None:
            number, most = torch.arange(1, len(owner) + 1, device=owner.device), len(owner)
        else:
            bins = (hours / self.bin_hours).long()
            older = older | (bins >= self.max_bins)
            number, most = self.max_bins - bins, self.max_bins

        # The key ascends with the owner, then in time.
        key = owner * (most + 1) + torch.where(older, 0, number)
        _, token = torch.unique(key, return_inverse=True)

        # A token is as old as its newest piece.
        num = int(token.max()) + 1
        newest = hours.new_zeros(num).scatter_reduce(0, token, hours, "amin", include_self=False)
        return _Grouped(token, owner.new_zeros(num).scatter(0, token, owner), newest)

    def _mean(self, events: Tensor, count: Tensor, grouped: _Grouped) -> Tensor:
        """Return the mean embedding of each token's events, moved by their number [M, W]."""
        num = len(grouped.owner)
        counts = count.new_zeros(num).index_add(0, grouped.token, count)
        weighted = events * count[:, None].to(events.dtype)
        sums = events.new_zeros(num, self.width).index_add(0, grouped.token, weighted)
        moved: Tensor = sums / counts[:, None] + self.number(torch.log1p(counts)[:, None])
        return moved


class GruCourse(nn.Module):
    """A GRU that reads tokens from the oldest to the newest."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.gru = nn.GRU(width, width, depth, batch_first=True)

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Map tokens [M, W] of samples, one behind the other, to as many [M, W]."""
        padded, there, lengths = laid_out(self.norm(tokens), lengths)
        packed = pack_padded_sequence(padded, lengths.cpu(), batch_first=True, enforce_sorted=False)
        hidden, _ = pad_packed_sequence(self.gru(packed)[0], batch_first=True)
        return hidden[there]


class TransformerCourse(nn.Module):
    """Transformer layers in which each token of a sample reads all its other tokens."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        heads = max(1, width // 32)
        layer = nn.TransformerEncoderLayer(
            width,
            heads,
            2 * width,
            dropout=0.1,
            activation="gelu",
            batch_first=True,
            norm_first=True,
        )
        norm = nn.LayerNorm(width)
        self.layers = nn.TransformerEncoder(layer, depth, norm=norm, enable_nested_tensor=False)

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Map tokens [M, W] of samples, one behind the other, to as many [M, W]."""
        padded, there, _ = laid_out(tokens, lengths)
        read: Tensor = self.layers(padded, src_key_padding_mask=~there)
        return read[there]


def make_course(course: Course, width: int, depth: int) -> nn.Module | None:
    """Return the module that reads tokens in their order, or None."""
    if course == "none":
        return None
    return GruCourse(width, depth) if course == "gru" else TransformerCourse(width, depth)


def laid_out(tokens: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Pad the tokens of the N' samples that have some.

    Returns the tokens [N', L, W], a mask of where there is one [N', L], and the lengths [N'].
    """
    lengths = lengths[lengths > 0]
    there = torch.arange(int(lengths.max()), device=tokens.device) < lengths[:, None]
    padded = tokens.new_zeros(*there.shape, tokens.shape[-1])
    padded[there] = tokens
    return padded, there, lengths


def in_time_order(pieces: PieceBatch) -> PieceBatch:
    """Return pieces by sample: those older than the budget, then the others, oldest first.

    Pieces of the same time keep their order.
    """
    hours = torch.where(pieces.tensors["older"], torch.inf, pieces.hours)
    order = torch.argsort(hours, descending=True, stable=True)
    order = order[torch.argsort(pieces.owner[order], stable=True)]
    tensors: Mapping[str, Tensor] = {name: tensor[order] for name, tensor in pieces.tensors.items()}
    return PieceBatch(tensors=tensors, hours=pieces.hours[order], owner=pieces.owner[order])
