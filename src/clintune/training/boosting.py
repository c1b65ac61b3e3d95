"""Gradient boosting of the loss of any task: trees that correct a probe, and trees alone.

Each round takes gradient and curvature of the loss by autograd, fits a small tree of scikit-learn
to the Newton step, and takes a part of that step. scikit-learn's own boosting knows a few losses of
one output only.

Four designs were compared by their loss in folds of the training subjects of activity_age, gbsg,
icu_mortality, metabric, support2 and whas: trees that start from the linear outputs, trees alone,
the mean of the linear outputs and trees alone, and the mean of the first two. The last had the
least loss on five of them, the first on activity_age: the folds choose between these two. Depth and
penalty were chosen there too.

Shapes: N samples, W columns, K outputs, F folds, S samples drawn, L leaves.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clintune.core.seeding import derive_seed
from clintune.model.trees import DEPTH, MOST_TREES
from clintune.tasks.linear import LinearModel
from clintune.training.tree_tensors import Tree, to_tensors

RATE = 0.05
MOST_ROUNDS = MOST_TREES // 2
_PATIENCE = 40
"""Rounds without a lesser loss after which no more are tried."""
LEAST_SUBJECTS = 20
"""Subjects that each leaf speaks of, at least: more than the 11 of whom anything may be told."""
PENALTY = 5.0
"""Samples of mean curvature without an opinion that each leaf is averaged with."""
FLOOR = 0.1
"""The least curvature, as a share of the mean squared gradient.

The mean squared gradient of a likelihood is its mean curvature.
"""
_SHARE_OF_SUBJECTS = 0.6
_SHARE_OF_COLUMNS = 0.2
_LEAST_COLUMNS = 12
_TOGETHER = 0.5
"""The share of each expert where two answer together."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """What one linear model of a head answers.

    It gives the `outputs` of the samples whose targets are `known` [N]. `targets` and `weight` are
    of all samples; those of unknown targets are not read.
    """

    kind: LinearModel
    outputs: slice
    known: Tensor
    targets: Tensor
    weight: Tensor


@dataclass(frozen=True, kw_only=True)
class Fitting:
    """What trees are fitted to."""

    columns: NDArray[np.float32]
    """What trees read [N, W], NaN where missing."""
    parts: Sequence[Part]
    """The linear models of a head."""
    subject: NDArray[np.int64]
    """The subject of each sample [N]."""

    def loss(self, outputs: Tensor, rows: Tensor) -> Tensor:
        """Return the weighted sum of losses of the outputs [S, K] of samples `rows` [S]."""
        total = outputs.sum() * 0.0
        for part in self.parts:
            known = part.known[rows]
            mine = rows[known]
            answers = outputs[known][:, part.outputs]
            total = total + part.kind.loss(answers, part.targets[mine], part.weight[mine])
        return total


class Boosted(NamedTuple):
    """An answer: a share of the linear outputs, a constant [K], and trees, which add up."""

    linear_share: float
    constant: Tensor
    trees: dict[str, Tensor]
    """The tensors of `Trees`."""


def boost(fitting: Fitting, linear: Tensor, by_fold: Tensor, fold: Tensor, seed: int) -> Boosted:
    """Fit as many trees beside a linear model as do best in the folds; none where none helps.

    `linear` [N, K] are the outputs of the model, `by_fold` [F, N, K] those of the model fitted
    without each fold, `fold` [N] the fold of each sample, -1 where none of its targets is known.
    """
    rows = torch.nonzero(fold >= 0)[:, 0]

    # Choose the number of rounds of both experts.
    held_out = range(len(by_fold))
    constants = torch.stack([constant(fitting, rows[fold[rows] != number]) for number in held_out])
    starts_by_fold = constants[:, None].expand_as(by_fold)
    corrected = _choose(fitting, by_fold, fold, derive_seed(seed, "corrected"))
    alone = _choose(fitting, starts_by_fold, fold, derive_seed(seed, "alone"))

    # Choose between the first expert and the mean of both.
    together = _TOGETHER * (corrected.outputs + alone.outputs)
    helps = fitting.loss(together[rows], rows) < fitting.loss(corrected.outputs[rows], rows)
    share = 1 - _TOGETHER if helps else 1.0

    # The trees of both experts stand side by side, each with the share of its expert.
    start = constant(fitting, rows)
    grown = [(tree, share) for tree in _fitted(fitting, linear, rows, corrected)]
    if helps:
        starts = start.expand_as(linear)
        grown += [(tree, 1 - share) for tree in _fitted(fitting, starts, rows, alone)]
    return Boosted(share, (1 - share) * start, to_tensors(grown, linear.shape[1]))


class _Choice(NamedTuple):
    """How many rounds do best in the folds."""

    rounds: int
    seed: int
    """The seed that drew the rounds."""
    outputs: Tensor
    """The outputs [N, K] of each sample while its fold was held out."""


def _choose(fitting: Fitting, starts: Tensor, fold: Tensor, seed: int) -> _Choice:
    """Boost from `starts` [F, N, K] without each fold; choose the least loss of held-out folds."""
    rows = torch.nonzero(fold >= 0)[:, 0]
    held_out = fold[rows]
    runs = [
        boosting(fitting, start, rows[held_out != number], derive_seed(seed, number))
        for number, start in enumerate(starts)
    ]

    outputs = starts[0].clone()
    outputs[rows] = starts[held_out, rows]
    best, least = _Choice(0, seed, outputs), float(fitting.loss(outputs[rows], rows))

    for rounds in range(1, MOST_ROUNDS + 1):
        after = torch.stack([next(run)[1] for run in runs])
        outputs = outputs.clone()
        outputs[rows] = after[held_out, rows]
        loss = float(fitting.loss(outputs[rows], rows))
        if loss < least:
            best, least = _Choice(rounds, seed, outputs), loss
        elif rounds - best.rounds >= _PATIENCE:
            break
    return best


def _fitted(fitting: Fitting, start: Tensor, rows: Tensor, choice: _Choice) -> list[Tree]:
    """Return the trees of as many rounds as were chosen, of all samples `rows`."""
    return [tree for tree, _ in islice(boosting(fitting, start, rows, choice.seed), choice.rounds)]


def boosting(
    fitting: Fitting, start: Tensor, rows: Tensor, seed: int
) -> Iterator[tuple[Tree, Tensor]]:
    """Yield tree after tree with the outputs of all samples [N, K] after it.

    Trees are fitted to the samples `rows`.
    """
    random = np.random.default_rng(seed)
    outputs = start.clone()
    while True:
        drawn, times = draw_subjects(fitting.subject, rows.numpy(), random)
        gradient, curvature = newton(fitting, outputs, torch.from_numpy(drawn), times)
        tree = grow(fitting.columns[drawn], gradient, curvature, int(random.integers(2**31)))
        outputs = outputs + tree.moves(fitting.columns)
        yield tree, outputs


def draw_subjects(
    subject: NDArray[np.int64], rows: NDArray[np.int64], random: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw some of the subjects of `rows`, and one sample of each.

    Returns these samples, and how many samples of its subject each stands for. With one sample a
    subject, a leaf has as many subjects as samples.
    """
    shuffled = rows[random.permutation(len(rows))]
    _, first, counts = np.unique(subject[shuffled], return_index=True, return_counts=True)
    number = min(len(first), max(LEAST_SUBJECTS, round(_SHARE_OF_SUBJECTS * len(first))))
    drawn = random.permutation(len(first))[:number]
    return shuffled[first[drawn]], counts[drawn]


def newton(
    fitting: Fitting, outputs: Tensor, rows: Tensor, times: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return gradient and curvature [S, K] of the loss by the outputs of `rows`.

    Each row counts so many `times`. The curvature of an output is the sum of the absolute values in
    its row of the Hessian. A diagonal matrix of these sums is nowhere less than the Hessian, so
    outputs that act alike do not take the same step twice. A loss may be flat: the curvature has a
    floor.
    """
    at = outputs[rows].requires_grad_()
    flat = 0.0 * at.pow(2).sum()  # of a loss of straight lines the gradient would be a constant
    (gradient,) = torch.autograd.grad(fitting.loss(at, rows) + flat, at, create_graph=True)
    curvature = torch.empty_like(at)
    for k in range(at.shape[1]):
        (row,) = torch.autograd.grad(gradient[:, k].sum(), at, retain_graph=True)
        curvature[:, k] = row.abs().sum(dim=1)

    # Keep the curvature above its floor, and count each row as often as it stands for others.
    slope = gradient.detach()
    floor = FLOOR * slope.pow(2).mean(dim=0)
    bound = torch.maximum(curvature.detach(), floor.clamp(min=torch.finfo(floor.dtype).tiny))
    many = torch.from_numpy(times)[:, None]
    return (slope * many).numpy(), (bound * many).numpy()


def grow(
    columns: NDArray[np.float32],
    gradient: NDArray[np.float64],
    curvature: NDArray[np.float64],
    seed: int,
) -> Tree:
    """Fit a tree to the Newton step, minus gradient over curvature, weighted by the curvature.

    A split weighs all outputs alike, by their mean curvature. The step of a leaf has the curvature
    of each output, and the penalty.
    """
    from sklearn.tree import DecisionTreeRegressor  # here: it takes half a second to import

    weight = curvature.mean(axis=1)
    width = columns.shape[1]
    model = DecisionTreeRegressor(
        max_depth=DEPTH,
        min_samples_leaf=LEAST_SUBJECTS,
        max_features=min(width, max(_LEAST_COLUMNS, round(_SHARE_OF_COLUMNS * width))),
        random_state=seed,
    ).fit(columns, -gradient / weight[:, None], sample_weight=weight)

    leaf, size = model.apply(columns), model.tree_.node_count
    slopes, curvatures = np.zeros((2, size, gradient.shape[1]))
    np.add.at(slopes, leaf, gradient)
    np.add.at(curvatures, leaf, curvature)
    return Tree(model, -RATE * slopes / (curvatures + PENALTY * curvature.mean()))


def constant(fitting: Fitting, rows: Tensor) -> Tensor:
    """Return the constant outputs [K] with the least loss for the samples `rows`, by L-BFGS."""
    num_outputs = max(part.outputs.stop for part in fitting.parts)
    found = torch.zeros(num_outputs, dtype=torch.float64, requires_grad=True)
    search = torch.optim.LBFGS([found], max_iter=100, line_search_fn="strong_wolfe")

    def objective() -> Tensor:
        search.zero_grad()
        loss = fitting.loss(found.expand(len(rows), -1), rows) / len(rows)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    search.step(objective)  # type: ignore[no-untyped-call]
    return found.detach()
