"""From events to tokens: an event or a bin of time each, seen alone or in the course of the sample's others.

Shapes: P pieces, M tokens, C codes, W width, L longest sample, N samples.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from clintune.contracts import PieceBatch, Tokens
from clintune.modalities.event_reader import FACTS

Course = Literal["none", "gru", "transformer"]
"""What reads the tokens of a sample together, before the backbone does."""
_FREQUENCIES = 16
_SLOPE = 0.3
"""Deviation of the slopes of facts as they are drawn; that of the codes' embeddings is 1."""


class _Grouped(NamedTuple):
    """Which token each piece goes to [P], and of each token its owner and hours [M]."""

    token: Tensor
    owner: Tensor
    hours: Tensor


class EventEncoder(nn.Module):
    """Embed events, put those of a bin together, and let a GRU or a transformer read a sample's tokens in their order.

    A code's embedding is the sum over its known beginnings, so that siblings are alike and an unknown code is what its
    parents are. What the budget leaves out is one token a sample: the mean of those events, and how many they are.
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
        """Take the places of each place's beginnings [C, A], its own among them, padded with 0; place 0 is no code."""
        super().__init__()
        self.width = width
        self.bin_hours = bin_hours
        self.max_bins = max_bins
        self.ancestors: Tensor
        self.register_buffer(
            "ancestors", torch.tensor(ancestors, dtype=torch.int64), persistent=False
        )
        self.frequencies: Tensor
        self.register_buffer("frequencies", torch.logspace(-1, 1, _FREQUENCIES), persistent=False)

        self.code = nn.Embedding(len(ancestors), width)
        self.slope = nn.Embedding(len(ancestors), len(FACTS) * width)
        nn.init.normal_(self.slope.weight, std=_SLOPE)
        self.text = nn.Linear(text_width, width, bias=False) if text_width else None
        self.time = nn.Linear(2 * _FREQUENCIES, width)
        self.mix = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )
        self.number = nn.Linear(1, width, bias=False)
        self.course = make_course(course, width, depth)

    def forward(self, pieces: PieceBatch, num_samples: int) -> Tokens:
        """Return the tokens of samples [M, W], oldest first."""
        pieces = in_time_order(pieces)
        grouped = self._group(pieces)
        tokens = self._mean(self._embed(pieces), pieces.tensors["count"], grouped)
        if self.course is not None:
            tokens = tokens + self.course(
                tokens, torch.bincount(grouped.owner, minlength=num_samples)
            )
        return Tokens(embeddings=tokens, owner=grouped.owner, hours=grouped.hours)

    def _embed(self, pieces: PieceBatch) -> Tensor:
        """Return the embedding of each piece [P, W]."""
        tensors, width = pieces.tensors, self.width
        above = self.ancestors[tensors["code"]]
        depth = (above > 0).sum(1, keepdim=True).clamp(min=1)
        code = (self.code(above) * (above > 0)[..., None]).sum(1) / depth.sqrt()
        code = torch.where((tensors["code"] > 0)[:, None], code, self.code.weight[0])
        slope = self.slope(tensors["code"]).view(-1, len(FACTS), width)

        phase = torch.log1p(pieces.hours)[:, None] * self.frequencies
        event = code + torch.einsum("pf,pfw->pw", tensors["facts"], slope)
        event = event + self.time(torch.cat([phase.sin(), phase.cos()], dim=-1))
        if self.text is not None:
            event = event + self.text(tensors["text"])
        return event + self.mix(event)  # type: ignore[no-any-return]

    def _group(self, pieces: PieceBatch) -> _Grouped:
        """Say which pieces make a token together: those of a bin, those beyond the budget, else each its own."""
        older, owner, hours = pieces.tensors["older"], pieces.owner, pieces.hours
        if self.bin_hours is None:
            number, most = torch.arange(1, len(owner) + 1, device=owner.device), len(owner)
        else:
            bins = (hours / self.bin_hours).long()
            older = older | (bins >= self.max_bins)
            number, most = self.max_bins - bins, self.max_bins
        key = owner * (most + 1) + torch.where(
            older, 0, number
        )  # ascends with the owner, then in time

        _, token = torch.unique(key, return_inverse=True)
        num = int(token.max()) + 1
        return _Grouped(
            token,
            owner.new_zeros(num).scatter(0, token, owner),
            hours.new_zeros(num).scatter_reduce(0, token, hours, "amin", include_self=False),
        )

    def _mean(self, events: Tensor, count: Tensor, grouped: _Grouped) -> Tensor:
        """Return the mean embedding of the events of each token, moved by how many they are [M, W]."""
        num = len(grouped.owner)
        counts = count.new_zeros(num).index_add(0, grouped.token, count)
        sums = events.new_zeros(num, self.width).index_add(
            0, grouped.token, events * count[:, None].to(events.dtype)
        )
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
    """Transformer layers in which every token of a sample reads all others of it."""

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
        self.layers = nn.TransformerEncoder(
            layer, depth, norm=nn.LayerNorm(width), enable_nested_tensor=False
        )

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Map tokens [M, W] of samples, one behind the other, to as many [M, W]."""
        padded, there, _ = laid_out(tokens, lengths)
        return self.layers(padded, src_key_padding_mask=~there)[there]  # type: ignore[no-any-return]


def make_course(course: Course, width: int, depth: int) -> nn.Module | None:
    """Return what reads tokens in their order, or None."""
    if course == "none":
        return None
    return GruCourse(width, depth) if course == "gru" else TransformerCourse(width, depth)


def laid_out(tokens: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return tokens padded to [N', L, W], where there is one [N', L] and how many [N'], of samples that have some."""
    lengths = lengths[lengths > 0]
    there = torch.arange(int(lengths.max()), device=tokens.device) < lengths[:, None]
    padded = tokens.new_zeros(*there.shape, tokens.shape[-1])
    padded[there] = tokens
    return padded, there, lengths


def in_time_order(pieces: PieceBatch) -> PieceBatch:
    """Return pieces by sample, what is older than the budget first, then the oldest; those of one time as they came."""
    hours = torch.where(pieces.tensors["older"], torch.inf, pieces.hours)
    order = torch.argsort(hours, descending=True, stable=True)
    order = order[torch.argsort(pieces.owner[order], stable=True)]
    tensors: Mapping[str, Tensor] = {name: tensor[order] for name, tensor in pieces.tensors.items()}
    return PieceBatch(tensors=tensors, hours=pieces.hours[order], owner=pieces.owner[order])
