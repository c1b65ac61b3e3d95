"""From pieces of all modalities to one output a task.

They are encoded, projected and put in time order; the backbone runs; a head reads its query.

Shapes: N samples, M tokens, W encoder width, D backbone width, Q tasks, O outputs.
"""

import math
from collections.abc import Iterator, Mapping
from typing import cast

import torch
from torch import Tensor, nn

from clintune.contracts import Batch, PieceBatch, Tokens
from clintune.modalities.base import Modality
from clintune.model.backbone import Backbone
from clintune.model.by_name import ModulesByName, ParametersByName
from clintune.model.heads import PROBES, Head, feature_widths, readout_features


class Fusion(nn.Module):
    """One backbone over the tokens of any subset of modalities.

    Each task has a query token and a head.
    """

    def __init__(
        self,
        modalities: Mapping[str, Modality],
        backbone: Backbone,
        outputs: Mapping[str, int],
        *,
        max_tokens: int,
        readout: str | None,
        head_dropout: float,
    ) -> None:
        super().__init__()
        self.modalities = ModulesByName(modalities)
        self.backbone = backbone
        self.max_tokens = max_tokens
        width, scale = backbone.width, backbone.embedding_rms()
        self.probe = readout in PROBES
        self.reads_queries = True

        self.projectors = ModulesByName(
            {
                name: Projector(
                    part, width, scale, chooses=self.probe and len(part.probe_choices) > 1
                )
                for name, part in modalities.items()
                if not part.native
            }
        )

        self.modality_embedding = ParametersByName(
            {name: nn.Parameter(torch.zeros(width)) for name in modalities}
        )
        self.time_embedding = TimeEmbedding(width)
        self.queries = nn.Parameter(torch.randn(len(outputs), width) * scale)
        widths = feature_widths(modalities, readout)

        self.heads = ModulesByName(
            {
                task: Head(
                    width,
                    widths,
                    num,
                    head_dropout,
                    probe=self.probe,
                    boosted=readout == "boosted",
                )
                for task, num in outputs.items()
            }
        )

    @property
    def encoders(self) -> dict[str, Modality]:
        """Return the modalities by name."""
        return cast(dict[str, Modality], dict(self.modalities.items()))

    @property
    def task_heads(self) -> "dict[str, Head]":
        """Return the heads by task."""
        return cast(dict[str, Head], dict(self.heads.items()))

    @torch.no_grad()
    def mask_unselected_features(self) -> None:
        """Mask projector inputs to the features that a probe selected, where there was a choice."""
        for name, projector in self.projectors.items():
            if isinstance(projector.chosen, Tensor):
                probes = [
                    head.of_features[name].get_parameter("weight")
                    for head in self.task_heads.values()
                ]
                projector.chosen.copy_(torch.cat(cast(list[Tensor], probes)).ne(0).any(dim=0))

    def leave_out_unread_queries(self) -> None:
        """Never run the backbone where no head reads its query, as of a probe alone."""
        self.reads_queries = any(head.reads_query for head in self.task_heads.values())

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return logits [N, O] of every task for every sample, labelled or not."""
        num_samples = len(batch)
        present = [name for name in self.modalities if name in batch.pieces]

        # Encode what the backbone reads, or a readout; facts are read from the pieces themselves.
        encoded: dict[str, Tokens] = {}
        for name in present:
            if self.reads_queries or not self.encoders[name].num_facts:
                encoded[name] = self._encode(name, batch.pieces[name], num_samples)

        pooled: dict[str, Tensor] = {}
        for name in present:
            if name in self.projectors:
                part, tokens = batch.pieces[name], encoded.get(name)
                pooled[name] = readout_features(
                    self.encoders[name], part, tokens, num_samples, self.probe
                )

        # Answer.
        hidden = self._run(encoded, num_samples)
        unused = self._unused(set(batch.pieces))
        return {
            task: head(hidden[:, i], pooled) + unused
            for i, (task, head) in enumerate(self.heads.items())
        }

    def _encode(self, name: str, pieces: PieceBatch, num_samples: int) -> Tokens:
        """Return tokens in the width of the encoder; native ones in that of the backbone."""
        modality = self.encoders[name]
        if modality.native:
            embedded = self.backbone.embed(modality.token_ids(pieces.tensors))
            return Tokens.of_pieces(embedded[:, None].float(), pieces)
        if pieces.encoded is not None:
            return Tokens.of_pieces(pieces.encoded, pieces)
        tokens: Tokens = modality(pieces, num_samples)
        return tokens

    def _project(self, name: str, tokens: Tokens) -> Tokens:
        """Return tokens in the width of the backbone, with embeddings of modality and time."""
        native = name not in self.projectors
        projected = tokens.embeddings if native else self.projectors[name](tokens.embeddings)
        projected = projected + self.modality_embedding[name] + self.time_embedding(tokens.hours)
        return Tokens(embeddings=projected, owner=tokens.owner, hours=tokens.hours)

    def _run(self, encoded: Mapping[str, Tokens], num_samples: int) -> Tensor:
        """Return the hidden states [N, Q, D] of the queries; zeros where no head reads them."""
        if not self.reads_queries:
            return self.queries.new_zeros(num_samples, *self.queries.shape)

        tokens = [self._project(name, part) for name, part in encoded.items()]
        embeddings, lengths = order_by_time(tokens, self.queries, num_samples, self.max_tokens)
        hidden: Tensor = self.backbone(embeddings, lengths)
        num_queries = len(self.queries)
        first = lengths.cumsum(0) - num_queries
        places = first[:, None] + torch.arange(num_queries, device=lengths.device)
        return hidden.index_select(0, places.flatten()).view(*places.shape, -1)

    def _unused(self, present: set[str]) -> Tensor:
        """Return a zero that depends on every trainable part that has no data in this batch.

        DDP then finds each part in the graph.
        """
        absent = [name for name in self.modalities if name not in present]
        parameters = [parameter for name in absent for parameter in self._parameters_of(name)]
        if not present:
            parameters += self.time_embedding.parameters()
        sums = [parameter.sum() for parameter in parameters if parameter.requires_grad]
        return torch.stack(sums).sum() * 0.0 if sums else self.queries.new_zeros(())

    def _parameters_of(self, name: str) -> Iterator[nn.Parameter]:
        yield self.modality_embedding[name]
        yield from self.modalities[name].parameters()
        if name in self.projectors:
            yield from self.projectors[name].parameters()
        for head in self.task_heads.values():
            if name in head.of_features:
                yield from head.of_features[name].parameters()


class Projector(nn.Module):
    """LayerNorm and a linear map from the width of an encoder to that of the backbone.

    Its outputs have the scale of the backbone's own embeddings. Where a probe selected features of
    a modality, the backbone reads these alone.
    """

    def __init__(self, modality: Modality, width: int, scale: float, *, chooses: bool) -> None:
        super().__init__()
        self.chosen: Tensor | None
        self.register_buffer("chosen", torch.ones(modality.width) if chooses else None)
        self.norm = nn.Identity() if modality.scaled else nn.LayerNorm(modality.width)
        self.linear = nn.Linear(modality.width, width)
        nn.init.normal_(self.linear.weight, std=scale / math.sqrt(modality.width))
        nn.init.zeros_(self.linear.bias)

    def forward(self, embeddings: Tensor) -> Tensor:
        """Map [..., W] to [..., D]."""
        normed = self.norm(embeddings.float())
        chosen = normed if self.chosen is None else normed * self.chosen
        return self.linear(chosen)  # type: ignore[no-any-return]


class TimeEmbedding(nn.Module):
    """Fourier features of log(1 + hours) before prediction, from minutes to decades.

    The embedding starts at zero.
    """

    def __init__(self, width: int, num_frequencies: int = 16) -> None:
        super().__init__()
        self.frequencies: Tensor
        self.register_buffer(
            "frequencies", torch.logspace(-1, 1, num_frequencies), persistent=False
        )
        self.linear = nn.Linear(2 * num_frequencies, width, bias=False)
        nn.init.zeros_(self.linear.weight)

    def forward(self, hours: Tensor) -> Tensor:
        """Map hours [M] to embeddings [M, D]."""
        phase = torch.log1p(hours)[:, None] * self.frequencies
        return self.linear(torch.cat([phase.sin(), phase.cos()], dim=-1))  # type: ignore[no-any-return]


def order_by_time(
    tokens: list[Tokens], queries: Tensor, num_samples: int, max_tokens: int
) -> tuple[Tensor, Tensor]:
    """Put the tokens of each sample in time order, oldest first, and its queries behind them.

    Samples stand one behind the other. Returns embeddings [M, D] and the lengths of the samples
    [N], queries included. Over `max_tokens` the oldest tokens are dropped.
    """
    num_queries, device = len(queries), queries.device
    embeddings = torch.cat([*(part.embeddings for part in tokens), queries.repeat(num_samples, 1)])
    samples = torch.arange(num_samples, device=device).repeat_interleave(num_queries)
    owner = torch.cat([*(part.owner for part in tokens), samples])

    # Hours before the prediction are never negative: queries come last.
    behind = torch.full(samples.shape, -1.0, device=device)
    hours = torch.cat([*(part.hours for part in tokens), behind])
    order = torch.argsort(hours, descending=True, stable=True)
    order = order[torch.argsort(owner[order], stable=True)]

    # Keep the newest tokens: those with the fewest behind them.
    count = torch.bincount(owner, minlength=num_samples)
    following = count.cumsum(0)[owner[order]] - 1 - torch.arange(len(order), device=device)
    return embeddings.index_select(0, order[following < max_tokens]), count.clamp(max=max_tokens)
