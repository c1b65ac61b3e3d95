"""Decision trees as plain tensors, which answer in torch what scikit-learn's own would.

Shapes: N samples, W columns, R trees, D depth, O outputs.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

DEPTH = 4
"""D: deep enough for four columns to act together, with no more than 16 leaves."""
MOST_TREES = 600
"""R, always, so that the shapes of a package follow from its outputs.

A tree that was not fitted answers zero.
"""


class Trees(nn.Module):
    """The sum of R complete binary trees: left of node i is node 2i + 1, right of it node 2i + 2.

    A sample goes left where its column `feature` is `threshold` or less, or is NaN and
    `missing_left` is set: all three [R, 2**D - 1]. What answers is the `value` [R, 2**D, O] of the
    place below the last node. A branch that ends before has the same value in all places below its
    end.
    """

    def __init__(self, num_outputs: int) -> None:
        super().__init__()
        nodes, leaves = (MOST_TREES, 2**DEPTH - 1), (MOST_TREES, 2**DEPTH)
        self.feature: Tensor
        self.threshold: Tensor
        self.missing_left: Tensor
        self.value: Tensor
        self.register_buffer("feature", torch.zeros(nodes, dtype=torch.int64))
        self.register_buffer("threshold", torch.zeros(nodes))
        self.register_buffer("missing_left", torch.zeros(nodes, dtype=torch.bool))
        self.register_buffer("value", torch.zeros(*leaves, num_outputs))

    def forward(self, columns: Tensor) -> Tensor:
        """Map columns [N, W], NaN where a sample lacks one, to outputs [N, O].

        A sample goes down all trees at once.
        """
        tree = torch.arange(len(self.feature), device=columns.device)
        node = tree.new_zeros(len(columns), len(tree))
        for _ in range(DEPTH):
            read = columns.gather(1, self.feature[tree, node])
            left = read <= self.threshold[tree, node]
            left = torch.where(read.isnan(), self.missing_left[tree, node], left)
            node = 2 * node + torch.where(left, 1, 2)

        return self.value[tree, node - self.feature.shape[1]].sum(dim=1)

    def reads_within(self, width: int) -> bool:
        """Return whether each node reads one of `width` columns; anyone may have written them."""
        return bool(((self.feature >= 0) & (self.feature < width)).all())


def tree_columns(pooled: Mapping[str, Tensor], widths: Mapping[str, int], beside: Tensor) -> Tensor:
    """Return what trees read [N, W]: the pooled features of all modalities side by side.

    `widths` are those of the modalities. A sample that lacks a modality has zeros alone, which
    become NaN. `beside` [N, ...] tells N and the device.
    """
    parts = []
    for name, width in widths.items():
        part = pooled.get(name, torch.zeros(len(beside), width, device=beside.device)).float()
        parts.append(part.masked_fill(~part.any(dim=1, keepdim=True), torch.nan))
    return torch.cat(parts, dim=1)
