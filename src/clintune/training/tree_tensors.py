"""Trees of scikit-learn as the tensors of `Trees`, which answers in torch as they do."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clintune.model.trees import DEPTH, MOST_TREES

if TYPE_CHECKING:
    from sklearn.tree import DecisionTreeRegressor


class Tree(NamedTuple):
    """A fitted tree of scikit-learn, and how each of its nodes moves the outputs [nodes, K]."""

    model: "DecisionTreeRegressor"
    steps: NDArray[np.float64]

    def moves(self, columns: NDArray[np.float32]) -> Tensor:
        """Return how samples move [N, K]."""
        return torch.from_numpy(self.steps[self.model.apply(columns)])


def to_tensors(grown: Sequence[tuple[Tree, float]], num_outputs: int) -> dict[str, Tensor]:
    """Return the buffers of `Trees` that answer as these trees do, each taken by its share."""
    # A tree that was not fitted reads the first column and answers zero.
    nodes, leaves = 2**DEPTH - 1, 2**DEPTH
    feature = np.zeros((MOST_TREES, nodes), np.int64)
    threshold = np.zeros((MOST_TREES, nodes), np.float32)
    missing_left = np.zeros((MOST_TREES, nodes), np.bool_)
    value = np.zeros((MOST_TREES, leaves, num_outputs), np.float32)

    for number, (tree, share) in enumerate(grown):
        fitted = tree.model.tree_
        at = _places(fitted.children_left, fitted.children_right)
        inner = at[:nodes]
        splits = fitted.children_left[inner] >= 0

        feature[number] = np.where(splits, fitted.feature[inner], 0)
        threshold[number] = np.where(splits, _not_above(fitted.threshold[inner]), 0)
        missing_left[number] = fitted.missing_go_to_left[inner]
        value[number] = share * tree.steps[at[nodes:]]

    arrays = {
        "feature": feature,
        "threshold": threshold,
        "missing_left": missing_left,
        "value": value,
    }
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def _places(left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the node at each place of a complete tree; a leaf takes all places below it."""
    at = np.zeros(2 ** (DEPTH + 1) - 1, np.int64)
    for place in range(2**DEPTH - 1):
        node = at[place]
        is_leaf = left[node] < 0
        at[2 * place + 1] = node if is_leaf else left[node]
        at[2 * place + 2] = node if is_leaf else right[node]
    return at


def _not_above(threshold: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the greatest float32 that is not above each threshold.

    A column of float32 then stands on the same side.
    """
    near = threshold.astype(np.float32)
    return np.where(near > threshold, np.nextafter(near, np.float32(-np.inf)), near)
