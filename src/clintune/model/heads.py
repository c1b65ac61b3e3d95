"""The head of a task: it reads the query token, and the features of each modality.

Shapes: N samples, M tokens, W width of features, F facts, D backbone width, O outputs.
"""

import math
from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from clintune.contracts import PieceBatch, Tokens
from clintune.core.errors import ConfigError
from clintune.modalities.base import Modality
from clintune.model.by_name import ModulesByName
from clintune.model.trees import Trees, tree_columns

PROBES = ("probe", "boosted")
"""The readouts that are fitted before training and stay as they are."""


class Head(nn.Module):
    """Linear layers on the query token and on the pooled features of each modality.

    A probe is frozen, and left out in training: in the loss, it would leave the backbone nothing to
    learn. A boosted probe has trees, which read the same features, beside its linear weights. The
    logits of a probe and of the query are averaged. Their sum would count the evidence twice.
    """

    def __init__(
        self,
        width: int,
        widths: Mapping[str, int],
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
            {name: nn.Linear(w, num_outputs, bias=False) for name, w in widths.items()}
        )
        for parameter in self.of_features.parameters():
            nn.init.zeros_(parameter)
            parameter.requires_grad_(not probe)

        self.probe_bias: Tensor | None
        self.register_buffer("probe_bias", torch.zeros(num_outputs) if probe else None)
        self.widths = dict(widths)
        self.trees = Trees(num_outputs) if boosted else None

    def forward(self, query: Tensor, pooled: Mapping[str, Tensor]) -> Tensor:
        """Map the hidden state of the query [N, D] and pooled features [N, W] to logits [N, O]."""
        logits: Tensor = self.of_query(self.dropout(query))
        if self.probe_bias is None:
            return logits + cast(Tensor, self._of_features(pooled))
        if self.training:
            return logits

        probed: Tensor = self.probe_bias + self._of_features(pooled)
        if self.trees is not None:
            probed = probed + self.trees(tree_columns(pooled, self.widths, query))
        return (logits + probed) / 2

    @property
    def reads_query(self) -> bool:
        """Return whether the query counts in the answer."""
        return bool(self.of_query.weight.any())

    @torch.no_grad()
    def answer_with_probe(self) -> None:
        """Answer with the probe alone: the untrained query counts nothing."""
        nn.init.zeros_(self.of_query.weight)
        trees = [] if self.trees is None else [self.trees.value]
        for tensor in (self.probe_bias, *self.of_features.parameters(), *trees):
            if tensor is not None:
                tensor.mul_(2)

    def _of_features(self, pooled: Mapping[str, Tensor]) -> Any:
        layers = self.of_features.items()
        return sum(linear(pooled[name]) for name, linear in layers if name in pooled)


def feature_widths(modalities: Mapping[str, Modality], readout: str | None) -> dict[str, int]:
    """Return the width of the features that heads read of each modality.

    A probe reads frozen encoders and plain facts only. A trained readout reads all but the
    modalities that the backbone embeds itself. Raises ConfigError for an unknown readout, or a
    probe of nothing.
    """
    if readout not in {None, "trained", *PROBES}:
        raise ConfigError(
            f"model.readout '{readout}' does not exist; use trained, probe, boosted or null"
        )
    if readout is None:
        return {}
    if readout == "trained":
        return {name: part.width for name, part in modalities.items() if not part.native}

    probed = {name: part.probe_width for name, part in modalities.items() if part.probe_width}
    if not probed:
        raise ConfigError(
            f"model.readout={readout} reads facts and frozen encoders of single items, and no "
            "modality has any; set mode=frozen where items are read one by one, or readout=null"
        )
    return probed


def readout_features(
    modality: Modality, pieces: PieceBatch, tokens: Tokens | None, num_samples: int, probe: bool
) -> Tensor:
    """Return what heads read of a modality: pooled tokens [N, W], or facts [N, F] for a probe."""
    if probe and modality.num_facts:
        return modality.facts(pieces, num_samples)
    assert tokens is not None, "a modality without facts has tokens"
    return pool(tokens, num_samples, modality.scaled)


def pool(tokens: Tokens, num_samples: int, scaled: bool) -> Tensor:
    """Average tokens [M, W] over each sample to [N, W], of length about one.

    A sample without tokens gets zeros. Rows are layer-normalised first, unless their scale means
    something.
    """
    width = tokens.embeddings.shape[-1]
    rows = tokens.embeddings.float()
    rows = (rows if scaled else nn.functional.layer_norm(rows, (width,))) / math.sqrt(width)
    sums = rows.new_zeros(num_samples, width).index_add(0, tokens.owner, rows)
    counts = torch.bincount(tokens.owner, minlength=num_samples).clamp(min=1)
    return sums / counts[:, None]
