"""Penalised linear models that a probe fits: of a yes or no, of classes, or of any loss.

Shapes: N samples, W features, K outputs.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

PENALTIES = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
"""C, the inverse of the penalty, over pooled embeddings of about unit length."""
_NEWTON_STEPS = 12
_LBFGS_STEPS, _BY_LOSS_STEPS = 1000, 200
_HALF_A_CASE = 0.5


class LinearModel(Protocol):
    """A kind of linear model with K outputs."""

    def path(
        self, features: Tensor, targets: Tensor, weight: Tensor
    ) -> list[tuple[Tensor, Tensor]]:
        """Return weights [K, W] and biases [K] for every C of `PENALTIES`.

        Minimises C times the weighted sum of losses plus half the squared length of the weights.
        Biases are free.
        """

    def can_learn(self, targets: Tensor) -> bool:
        """Return whether these targets differ, so that there is something to learn."""

    def loss(self, logits: Tensor, targets: Tensor, weight: Tensor) -> Tensor:
        """Return the weighted sum of losses of outputs [N, K]."""


@dataclass(frozen=True)
class YesNo:
    """Targets are 0 or 1."""

    def path(
        self, features: Tensor, targets: Tensor, weight: Tensor
    ) -> list[tuple[Tensor, Tensor]]:
        """Fit each from the one before by Newton's method.

        It searches the row space of the features, where solutions lie.
        """
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
                spread = (weight * chance * (1 - chance))[:, None]
                curvature = inverse * rows.T @ (rows * spread) + torch.diag(penalty)

                step = torch.linalg.solve(curvature, gradient)
                solution = solution - step
                if step.abs().max() < 1e-8:
                    break
            path.append(((basis @ solution[:-1])[None], solution[-1:].clone()))
        return path

    def can_learn(self, targets: Tensor) -> bool:
        """Return whether there are both yes and no."""
        return bool(targets.min() < targets.max())

    def loss(self, logits: Tensor, targets: Tensor, weight: Tensor) -> Tensor:
        """Return the weighted sum of binary cross-entropies."""
        return binary_cross_entropy_with_logits(logits[:, 0], targets, weight, reduction="sum")


@dataclass(frozen=True)
class OneOf:
    """Targets are the numbers of `num_classes` classes."""

    num_classes: int

    def path(
        self, features: Tensor, targets: Tensor, weight: Tensor
    ) -> list[tuple[Tensor, Tensor]]:
        """Fit scikit-learn's multinomial regression, each from the one before.

        It searches the row space of the features. A class without a target is held to be as
        frequent as half a case.
        """
        # Imported here: it takes half a second, which few runs need.
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression

        # scikit-learn fits two classes as a yes or no, whose penalty on the difference is twice
        # ours.
        rows, basis = _row_space(features)
        present = torch.unique(targets).long()
        two = len(present) == 2
        model = LogisticRegression(tol=1e-6, max_iter=_LBFGS_STEPS, warm_start=True)
        path = []

        for inverse in PENALTIES:
            weights = torch.zeros(self.num_classes, features.shape[1], dtype=features.dtype)
            rare = float(np.log(_HALF_A_CASE / len(targets)))
            bias = torch.full((self.num_classes,), rare, dtype=features.dtype)
            fitted = torch.zeros(1, dtype=features.dtype)

            if len(present) > 1:
                model.C = 2 * inverse if two else inverse
                with warnings.catch_warnings():
                    # Under a weak penalty the last digits do not converge.
                    warnings.simplefilter("ignore", ConvergenceWarning)
                    model.fit(rows.numpy(), targets.numpy(), sample_weight=weight.numpy())
                halves = np.array([[-0.5], [0.5]]) if two else np.eye(len(present))
                weights[present] = torch.from_numpy(halves @ model.coef_) @ basis.T
                fitted = torch.from_numpy(halves @ model.intercept_)

            bias[present] = fitted - fitted.logsumexp(0)
            path.append((weights, bias))

        return path

    def can_learn(self, targets: Tensor) -> bool:
        """Return whether there are two classes or more."""
        return bool(targets.min() < targets.max())

    def loss(self, logits: Tensor, targets: Tensor, weight: Tensor) -> Tensor:
        """Return the weighted sum of cross-entropies."""
        return (weight * cross_entropy(logits, targets.long(), reduction="none")).sum()


@dataclass(frozen=True)
class ByLoss:
    """Outputs that minimise the loss of a task, whatever that is; targets are [N, T].

    `name` tells apart tasks, and states of one, whose loss differs.
    """

    name: str
    num_outputs: int
    task_loss: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] = field(repr=False)

    def path(
        self, features: Tensor, targets: Tensor, weight: Tensor
    ) -> list[tuple[Tensor, Tensor]]:
        """Fit each from the one before by L-BFGS.

        It searches the row space of the features, where solutions lie. Directions are scaled by
        about the curvature of the penalised loss, so that steps of one length suit all.
        """
        rows, basis = _row_space(features)
        rows = torch.cat([rows, torch.ones(len(features), 1, dtype=features.dtype)], dim=1)
        penalty = torch.ones(rows.shape[1], dtype=features.dtype)
        penalty[-1] = 0.0  # the biases are free
        solution = torch.zeros(self.num_outputs, rows.shape[1], dtype=features.dtype)
        path = []

        for inverse in PENALTIES:
            scale = (inverse * rows.pow(2).sum(dim=0) / 4 + penalty).rsqrt()
            searched = (solution / scale).requires_grad_()
            search = torch.optim.LBFGS(
                [searched],
                max_iter=_BY_LOSS_STEPS,
                tolerance_grad=1e-7,
                tolerance_change=1e-9,
                history_size=20,
                line_search_fn="strong_wolfe",
            )

            def objective(
                search: torch.optim.LBFGS = search,
                searched: Tensor = searched,
                scale: Tensor = scale,
                inverse: float = inverse,
            ) -> Tensor:
                search.zero_grad()
                weights = searched * scale
                loss = inverse * self.loss(rows @ weights.T, targets, weight)
                total = (loss + (penalty * weights.pow(2)).sum() / 2) / (inverse * len(rows))
                total.backward()  # type: ignore[no-untyped-call]
                return total

            search.step(objective)  # type: ignore[no-untyped-call]
            solution = searched.detach() * scale
            path.append((solution[:, :-1] @ basis.T, solution[:, -1].clone()))

        return path

    def can_learn(self, targets: Tensor) -> bool:
        """Return whether any two targets differ."""
        return bool((targets != targets[0]).any())

    def loss(self, logits: Tensor, targets: Tensor, weight: Tensor) -> Tensor:
        """Return the weighted sum of losses; samples of one weight go to the task together."""
        total = logits.sum() * 0.0
        for value in torch.unique(weight):
            mine = weight == value
            total = total + value * self.task_loss(logits[mine], targets[mine])[0]
        return total


def _row_space(features: Tensor) -> tuple[Tensor, Tensor]:
    """Return coordinates [N, R] of the rows and their orthonormal basis [W, R], R the rank."""
    wide = features.shape[0] < features.shape[1]
    values, vectors = torch.linalg.eigh(features @ features.T if wide else features.T @ features)
    kept = values > 1e-12 * values[-1]
    basis = features.T @ vectors[:, kept] / values[kept].sqrt() if wide else vectors[:, kept]
    return features @ basis, basis
