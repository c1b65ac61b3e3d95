"""What a probe fits: for one yes or no, and for one of several classes, a path of penalised logistic regressions."""

import warnings
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

PENALTIES = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
"""C, the inverse of the penalty, over pooled embeddings of about unit length."""
_NEWTON_STEPS = 12
_LBFGS_STEPS = 1000
_HALF_A_CASE = 0.5


class Regression(Protocol):
    """A kind of logistic regression: K is 1 for a yes or no, else the number of classes."""

    def path(self, features: Tensor, targets: Tensor, weight: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Return weights [K, W] and biases [K] for every C of `PENALTIES`.

        Minimises C times the weighted sum of log losses plus half the squared length of the weights, the biases free.
        """

    def loss(self, logits: Tensor, targets: Tensor, weight: Tensor) -> Tensor:
        """Return the weighted sum of log losses of logits [N, K]."""


@dataclass(frozen=True)
class YesNo:
    """Targets are 0 or 1."""

    def path(self, features: Tensor, targets: Tensor, weight: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Fit each from the one before by Newton's method in the row space of the features, where solutions lie."""
        rows, basis = _row_space(features)
        rows = torch.cat([rows, torch.ones(len(features), 1, dtype=features.dtype)], dim=1)
        penalty = torch.ones(rows.shape[1], dtype=features.dtype)
        penalty[-1] = 1e-6
        solution = torch.zeros(rows.shape[1], dtype=features.dtype)
        path = []
        for inverse in PENALTIES:
            for _ in range(_NEWTON_STEPS):
                chance = torch.sigmoid(rows @ solution)
                gradient = inverse * rows.T @ (weight * (chance - targets)) + penalty * solution
                curvature = inverse * rows.T @ (rows * (weight * chance * (1 - chance))[:, None]) + torch.diag(penalty)
                step = torch.linalg.solve(curvature, gradient)
                solution = solution - step
                if step.abs().max() < 1e-8:
                    break
            path.append(((basis @ solution[:-1])[None], solution[-1:].clone()))
        return path

    def loss(self, logits: Tensor, targets: Tensor, weight: Tensor) -> Tensor:
        """Return the weighted sum of binary cross-entropies."""
        return binary_cross_entropy_with_logits(logits[:, 0], targets, weight, reduction="sum")


@dataclass(frozen=True)
class OneOf:
    """Targets are the numbers of `num_classes` classes."""

    num_classes: int

    def path(self, features: Tensor, targets: Tensor, weight: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Fit scikit-learn's multinomial regression in the row space of the features, each from the one before.

        A class without a target is held to be as frequent as half a case.
        """
        from sklearn.exceptions import ConvergenceWarning  # here: it takes half a second, which few runs need
        from sklearn.linear_model import LogisticRegression

        rows, basis = _row_space(features)
        present = torch.unique(targets).long()
        two = len(present) == 2  # which scikit-learn fits as a yes or no, whose penalty on the difference is twice ours
        model = LogisticRegression(tol=1e-6, max_iter=_LBFGS_STEPS, warm_start=True)
        path = []

        for inverse in PENALTIES:
            weights = torch.zeros(self.num_classes, features.shape[1], dtype=features.dtype)
            bias = torch.full((self.num_classes,), float(np.log(_HALF_A_CASE / len(targets))), dtype=features.dtype)
            fitted = torch.zeros(1, dtype=features.dtype)
            if len(present) > 1:
                model.C = 2 * inverse if two else inverse
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", ConvergenceWarning)  # of the last digits, under a weak penalty
                    model.fit(rows.numpy(), targets.numpy(), sample_weight=weight.numpy())
                halves = np.array([[-0.5], [0.5]]) if two else np.eye(len(present))
                weights[present] = torch.from_numpy(halves @ model.coef_) @ basis.T
                fitted = torch.from_numpy(halves @ model.intercept_)

            bias[present] = fitted - fitted.logsumexp(0)
            path.append((weights, bias))

        return path

    def loss(self, logits: Tensor, targets: Tensor, weight: Tensor) -> Tensor:
        """Return the weighted sum of cross-entropies."""
        return (weight * cross_entropy(logits, targets.long(), reduction="none")).sum()


def _row_space(features: Tensor) -> tuple[Tensor, Tensor]:
    """Return coordinates [N, R] of the rows and the orthonormal basis [W, R] they are in, R the rank."""
    wide = features.shape[0] < features.shape[1]
    values, vectors = torch.linalg.eigh(features @ features.T if wide else features.T @ features)
    kept = values > 1e-12 * values[-1]
    basis = features.T @ vectors[:, kept] / values[kept].sqrt() if wide else vectors[:, kept]
    return features @ basis, basis
