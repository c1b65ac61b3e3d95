"""Encoders of signal windows, trained from scratch: a transformer, a CNN or a GRU over patches.

Shapes: P windows, C channels, L samples a window, N patches, W width, K tokens a window.
"""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, scaled_dot_product_attention

Kind = Literal["patch_transformer", "cnn", "gru"]


class SignalEncoder(nn.Module):
    """An encoder of windows to K tokens each, the means of the patches that a body has read.

    A patch without any observed sample is left out of attention and means; elsewhere it is zero. A
    token whose patches are all gaps is zero.
    """

    def __init__(
        self,
        kind: Kind,
        *,
        inputs: int,
        length: int,
        patch: int,
        width: int,
        depth: int,
        tokens: int,
    ) -> None:
        super().__init__()
        self.patch = patch
        self.tokens = tokens
        self.patches = -(-length // patch)
        self.stem = nn.Conv1d(inputs, width, patch, stride=patch)
        self.position = nn.Parameter(0.02 * torch.randn(self.patches, width))
        self.body = _BODIES[kind](width, depth)
        self.norm = nn.LayerNorm(width)

    def forward(self, signal: Tensor, observed: Tensor) -> Tensor:
        """Encode `signal` [P, inputs, L] to [P, K, W].

        `observed` [P, C, L] is 1 where a channel has a sample.
        """
        missing = self.patches * self.patch - signal.shape[-1]
        seen = pad(observed, (0, missing)).amax(1).reshape(-1, self.patches, self.patch).amax(-1)
        hidden = self.stem(pad(signal, (0, missing))).transpose(1, 2) + self.position
        hidden = self.norm(self.body(hidden * seen.unsqueeze(-1), seen))
        return _masked_means(hidden, seen, self.tokens)


class TransformerBody(nn.Module):
    """Pre-norm transformer blocks that do not attend to gaps."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(_Block(width) for _ in range(depth))

    def forward(self, hidden: Tensor, seen: Tensor) -> Tensor:
        """Map [P, N, W] to the same shape."""
        # Every patch may attend to itself, so that a window of gaps gives no NaN.
        itself = torch.eye(seen.shape[1], dtype=torch.bool, device=seen.device)
        mask = (seen.bool().unsqueeze(1) | itself).unsqueeze(1)
        for block in self.blocks:
            hidden = block(hidden, mask)
        return hidden


class ConvolutionBody(nn.Module):
    """Residual convolutions over three patches; each layer doubles the dilation."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Conv1d(width, width, 3, padding=2**level, dilation=2**level)
            for level in range(depth)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(depth))

    def forward(self, hidden: Tensor, seen: Tensor) -> Tensor:
        """Map [P, N, W] to the same shape."""
        keep = seen.unsqueeze(-1)
        for layer, norm in zip(self.layers, self.norms, strict=True):
            changed = layer(norm(hidden).mul(keep).transpose(1, 2)).transpose(1, 2)
            hidden = (hidden + nn.functional.gelu(changed)) * keep
        return hidden


class RecurrentBody(nn.Module):
    """A gated recurrent unit in both directions."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.gru = nn.GRU(width, width // 2, depth, batch_first=True, bidirectional=True)

    def forward(self, hidden: Tensor, seen: Tensor) -> Tensor:
        """Map [P, N, W] to the same shape."""
        changed: Tensor = self.gru(hidden)[0]
        return hidden + changed


_BODIES = {"patch_transformer": TransformerBody, "cnn": ConvolutionBody, "gru": RecurrentBody}


class _Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = max(1, width // 32)
        self.before_attention = nn.LayerNorm(width)
        self.attention_inputs = nn.Linear(width, 3 * width)
        self.attention_output = nn.Linear(width, width)
        self.before_mlp = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        inputs = self.attention_inputs(self.before_attention(hidden))
        query, key, value = inputs.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        attended = scaled_dot_product_attention(query, key, value, attn_mask=mask)
        hidden = hidden + self.attention_output(attended.transpose(1, 2).flatten(2))
        return hidden + self.mlp(self.before_mlp(hidden))  # type: ignore[no-any-return]


def _masked_means(hidden: Tensor, seen: Tensor, tokens: int) -> Tensor:
    """Average the seen patches [P, N, W] of `tokens` equal stretches to [P, tokens, W]."""
    stretch = torch.arange(seen.shape[1], device=seen.device) * tokens // seen.shape[1]
    weights = torch.nn.functional.one_hot(stretch, tokens).T.to(hidden.dtype) * seen.unsqueeze(1)
    return weights @ hidden / weights.sum(-1, keepdim=True).clamp(min=1)
