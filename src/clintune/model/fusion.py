"""From pieces of all modalities to one output a task: encode, project, put in time order, run, read the queries.

Shapes: N samples, M tokens, W encoder width, D backbone width, Q tasks, O outputs.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from clintune.contracts import Batch, PieceBatch, Tokens
from clintune.core.errors import ConfigError
from clintune.modalities.base import Modality
from clintune.model.backbone import Backbone
from clintune.model.by_name import ModulesByName, ParametersByName
from clintune.model.trees import Trees, tree_columns

PROBES = ("probe", "boosted")
"""The readout of featuress that are fitted before training and stay as they are."""


class Fusion(nn.Module):
    """One backbone over the tokens of any subset of modalities, with one query token and one head a task."""

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
        """Let the backbone read the features that the probe of some output reads, where there was a choice."""
        for name, projector in self.projectors.items():
            if isinstance(projector.chosen, Tensor):
                probes = [
                    head.of_features[name].get_parameter("weight")
                    for head in self.task_heads.values()
                ]
                projector.chosen.copy_(torch.cat(cast(list[Tensor], probes)).ne(0).any(dim=0))

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return logits [N, O] of every task for every sample, labelled or not."""
        tokens: list[Tokens] = []
        pooled: dict[str, Tensor] = {}
        for name in self.modalities:
            if name not in batch.pieces:
                continue
            pieces = batch.pieces[name]
            encoded = self._encode(name, pieces, len(batch))
            tokens.append(self._project(name, encoded))
            if name in self.projectors:
                pooled[name] = readout_features(
                    self.encoders[name], pieces, encoded, len(batch), self.probe
                )
        hidden = self._run(tokens, len(batch))
        unused = self._unused(set(batch.pieces))
        return {
            task: head(hidden[:, i], pooled) + unused
            for i, (task, head) in enumerate(self.heads.items())
        }

    def _encode(self, name: str, pieces: PieceBatch, num_samples: int) -> Tokens:
        """Return the modality's tokens in its encoder's width; of native ones, in the backbone's."""
        modality = self.encoders[name]
        if modality.native:
            return Tokens.of_pieces(
                self.backbone.embed(modality.token_ids(pieces.tensors))[:, None].float(), pieces
            )
        if pieces.encoded is not None:
            return Tokens.of_pieces(pieces.encoded, pieces)
        tokens: Tokens = modality(pieces, num_samples)
        return tokens

    def _project(self, name: str, tokens: Tokens) -> Tokens:
        """Return tokens in the backbone's width, with the embeddings of their modality and their time."""
        native = name not in self.projectors
        projected = tokens.embeddings if native else self.projectors[name](tokens.embeddings)
        projected = projected + self.modality_embedding[name] + self.time_embedding(tokens.hours)
        return Tokens(embeddings=projected, owner=tokens.owner, hours=tokens.hours)

    def _run(self, tokens: list[Tokens], num_samples: int) -> Tensor:
        """Return the hidden states [N, Q, D] of the query tokens."""
        embeddings, lengths = order_by_time(tokens, self.queries, num_samples, self.max_tokens)
        hidden: Tensor = self.backbone(embeddings, lengths)
        num_queries = len(self.queries)
        first = lengths.cumsum(0) - num_queries
        places = first[:, None] + torch.arange(num_queries, device=lengths.device)
        return hidden.index_select(0, places.flatten()).view(*places.shape, -1)

    def _unused(self, present: set[str]) -> Tensor:
        """Return a zero that depends on every trainable part without data here, so that DDP finds each in the graph."""
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
    """LayerNorm and a linear map from an encoder's width to the backbone's, at the scale of its own embeddings.

    Where a probe chooses among the features of a modality, the backbone reads the ones of its choice too.
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
        return self.linear(normed if self.chosen is None else normed * self.chosen)  # type: ignore[no-any-return]


class TimeEmbedding(nn.Module):
    """Fourier features of log(1 + hours) before prediction, from minutes to decades; starts at zero."""

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


class Head(nn.Module):
    """A linear readout of the task's query and, on the readout of features, of each modality's pooled embedding.

    A probe is frozen, and left out in training: were it in the loss, it would leave the backbone nothing to learn.
    A boosted one has trees, which read the same embeddings, beside its linear weights.
    Its logits and the backbone's are averaged rather than summed, which would count the evidence twice.
    """

    def __init__(
        self,
        width: int,
        feature_widths: Mapping[str, int],
        num_outputs: int,
        dropout: float,
        *,
        probe: bool,
        boosted: bool,
    ) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.of_query = nn.Linear(width, num_outputs)
        nn.init.normal_(self.of_query.weight, std=0.02)
        nn.init.zeros_(self.of_query.bias)
        self.of_features = ModulesByName(
            {name: nn.Linear(w, num_outputs, bias=False) for name, w in feature_widths.items()}
        )
        self.probe_bias: Tensor | None
        self.register_buffer("probe_bias", torch.zeros(num_outputs) if probe else None)
        self.widths = dict(feature_widths)
        self.trees = Trees(num_outputs) if boosted else None
        for parameter in self.of_features.parameters():
            nn.init.zeros_(parameter)
            parameter.requires_grad_(not probe)

    def forward(self, query: Tensor, pooled: Mapping[str, Tensor]) -> Tensor:
        """Map the query's hidden state [N, D] and pooled embeddings [N, W] to logits [N, O]."""
        logits: Tensor = self.of_query(self.dropout(query))
        if self.probe_bias is None:
            return logits + cast(Tensor, self._of_features(pooled))
        if self.training:
            return logits
        probed: Tensor = self.probe_bias + self._of_features(pooled)
        if self.trees is not None:
            probed = probed + self.trees(tree_columns(pooled, self.widths, query))
        return (logits + probed) / 2

    @torch.no_grad()
    def answer_with_probe(self) -> None:
        """Answer with the probe alone: the readout, which nobody trained, becomes zero and the average the probe."""
        nn.init.zeros_(self.of_query.weight)
        trees = [] if self.trees is None else [self.trees.value]
        for tensor in (self.probe_bias, *self.of_features.parameters(), *trees):
            if tensor is not None:
                tensor.mul_(2)

    def _of_features(self, pooled: Mapping[str, Tensor]) -> Any:
        return sum(
            linear(pooled[name]) for name, linear in self.of_features.items() if name in pooled
        )


def feature_widths(modalities: Mapping[str, Modality], readout: str | None) -> dict[str, int]:
    """Return the width of each modality on the readout of features; a probe reads frozen encoders and plain facts only.

    A trained path reads all but what the backbone embeds itself. Raises ConfigError for an unknown readout of features, or a
    probe of nothing.
    """
    if readout not in {None, "trained", *PROBES}:
        raise ConfigError(
            f"model.readout '{readout}' does not exist; use trained, probe, boosted or null"
        )
    if readout is None:
        return {}
    probed = {n: m.probe_width for n, m in modalities.items()}
    trained = {n: m.width for n, m in modalities.items() if not m.native}
    chosen = {
        name: width for name, width in (probed if readout in PROBES else trained).items() if width
    }
    if readout in PROBES and not chosen:
        raise ConfigError(
            f"model.readout={readout} reads frozen encoders, and no modality has one; set mode=frozen or "
            "readout=null"
        )
    return chosen


def readout_features(
    modality: Modality, pieces: PieceBatch, tokens: Tokens | None, num_samples: int, probe: bool
) -> Tensor:
    """Return what the readout of features reads of a modality [N, W]: pooled tokens, or for a probe its facts [N, F]."""
    if probe and modality.num_facts:
        return modality.facts(pieces, num_samples)
    assert tokens is not None, "a modality without facts has tokens"
    return pool(tokens, num_samples, modality.scaled)


def pool(tokens: Tokens, num_samples: int, scaled: bool) -> Tensor:
    """Average tokens [M, W] over each sample to [N, W], of length about one; zero where a sample has none.

    Unless their scale means something, rows are layer-normalised first.
    """
    width = tokens.embeddings.shape[-1]
    rows = tokens.embeddings.float()
    rows = (rows if scaled else nn.functional.layer_norm(rows, (width,))) / math.sqrt(width)
    sums = rows.new_zeros(num_samples, width).index_add(0, tokens.owner, rows)
    counts = torch.bincount(tokens.owner, minlength=num_samples).clamp(min=1)
    return sums / counts[:, None]


def order_by_time(
    tokens: list[Tokens], queries: Tensor, num_samples: int, max_tokens: int
) -> tuple[Tensor, Tensor]:
    """Put each sample's tokens in time order, oldest first, then its queries, and the samples one behind the other.

    Returns embeddings [M, D] and the lengths of the samples [N], queries included. Over `max_tokens` the oldest tokens
    are dropped.
    """
    num_queries, device = len(queries), queries.device
    embeddings = torch.cat([*(part.embeddings for part in tokens), queries.repeat(num_samples, 1)])
    samples = torch.arange(num_samples, device=device).repeat_interleave(num_queries)
    owner = torch.cat([*(part.owner for part in tokens), samples])
    behind = torch.full(
        samples.shape, -1.0, device=device
    )  # hours before the prediction are never negative
    hours = torch.cat([*(part.hours for part in tokens), behind])
    order = torch.argsort(hours, descending=True, stable=True)
    order = order[torch.argsort(owner[order], stable=True)]
    count = torch.bincount(owner, minlength=num_samples)
    following = count.cumsum(0)[owner[order]] - 1 - torch.arange(len(order), device=device)
    return embeddings.index_select(0, order[following < max_tokens]), count.clamp(max=max_tokens)
