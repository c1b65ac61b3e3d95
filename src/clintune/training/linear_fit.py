"""A linear model whose columns and penalty are chosen in folds of the training subjects.

scikit-learn's `LogisticRegressionCV` is not used: it knows no loss but that of classes, and chooses
a penalty but no columns.

Shapes: N samples, W columns, K outputs, F folds.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from clintune.tasks.linear import PENALTIES, LinearModel
from clintune.training.probe_inputs import NUM_FOLDS


class Linear(NamedTuple):
    """Weights [K, W] and biases [K], or those of F folds, each fitted without one fold."""

    weights: Tensor
    bias: Tensor

    def __call__(self, features: Tensor) -> Tensor:
        """Return outputs [N, K], or those of each fold [F, N, K]."""
        return features @ self.weights.mT + self.bias[..., None, :]


def fit_output(
    kind: LinearModel,
    features: Tensor,
    targets: Tensor,
    weight: Tensor,
    choices: Sequence[Sequence[int]],
    fold: Tensor,
) -> Linear:
    """Choose columns and penalty with the least loss over the folds, then fit on everything.

    Returns weights [1 + F, K, W], zero outside the chosen columns and where a column is always
    zero, and biases [1 + F, K]: of everything, then without each of the folds that others can learn
    without.
    """
    by_choice = [
        fold_paths(kind, features[:, columns], targets, weight, fold) for columns in choices
    ]
    losses = torch.stack(
        [
            validation_losses(kind, paths, features[:, columns], targets, weight, fold)
            for paths, columns in zip(by_choice, choices, strict=True)
        ]
    )
    choice, penalty = divmod(int(losses.argmin()), len(PENALTIES))
    columns = [column for column in choices[choice] if features[:, column].any()]
    kept = [place for place, column in enumerate(choices[choice]) if features[:, column].any()]

    fitted = [kind.path(features[:, columns], targets, weight)[penalty]]
    weights = features.new_zeros(1 + len(by_choice[choice]), len(fitted[0][1]), features.shape[1])
    weights[0][:, columns] = fitted[0][0]
    for number, path in enumerate(by_choice[choice].values(), start=1):
        fitted.append(path[penalty])
        weights[number][:, columns] = path[penalty][0][:, kept]
    return Linear(weights, torch.stack([bias for _, bias in fitted]))


def fold_paths(
    kind: LinearModel, features: Tensor, targets: Tensor, weight: Tensor, fold: Tensor
) -> dict[int, list[tuple[Tensor, Tensor]]]:
    """Return what is fitted without each fold, by its number.

    A fold without samples is left out, as is one without which there is one answer alone.
    """
    paths = {}
    for held_out in range(NUM_FOLDS):
        train = fold != held_out
        if not train.all() and kind.can_learn(targets[train]):
            paths[held_out] = kind.path(features[train], targets[train], weight[train])
    return paths


def validation_losses(
    kind: LinearModel,
    paths: Mapping[int, Sequence[tuple[Tensor, Tensor]]],
    features: Tensor,
    targets: Tensor,
    weight: Tensor,
    fold: Tensor,
) -> Tensor:
    """Return the loss, summed over the folds' held-out rows, for each penalty."""
    losses = torch.zeros(len(PENALTIES), dtype=torch.float64)
    for held_out, path in paths.items():
        test = fold == held_out
        for i, (weights, bias) in enumerate(path):
            losses[i] += kind.loss(features[test] @ weights.T + bias, targets[test], weight[test])
    return losses
