"""Dropout with masks that are cheap on a CPU.

Torch draws a double for each entry, one after the other; this draws sixteen bits. For LoRA of a
small model torch's masks take a tenth of a step on a CPU. On a GPU, in compiled graphs and outside
of training torch's own dropout runs.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

_VALUES = 2**16
"""Number of values of sixteen bits."""


class Dropout(nn.Dropout):
    """`nn.Dropout`, computed by `dropout`."""

    def forward(self, values: Tensor) -> Tensor:
        """Drop entries in training only."""
        return dropout(values, self.p) if self.training else values


def dropout(values: Tensor, p: float) -> Tensor:
    """Zero each entry with probability `p`, and scale the others up by 1 / (1 - p).

    `p` is rounded to 1/65536. The draws come from torch's generator, so its seed repeats them.
    """
    if not (values.is_cpu and 0 < p < 1) or torch.compiler.is_compiling():
        return functional.dropout(values, p)
    words = torch.empty(-(-values.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
    draws = words.view(torch.int16)[: values.numel()].view(values.shape)
    kept = torch.ge(draws, round(p * _VALUES) - _VALUES // 2, out=torch.empty_like(values))
    return values * kept.div_(1 - p)


def replace_dropout(model: nn.Module) -> None:
    """Replace every `nn.Dropout` of a model by `Dropout`."""
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.Dropout:
                setattr(parent, name, Dropout(child.p).train(child.training))
