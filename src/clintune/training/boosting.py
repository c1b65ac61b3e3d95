"""Trees that correct a linear probe, and trees that answer alone: gradient boosting of whatever a
task's loss asks.

Each round takes gradient and curvature of the loss by autograd, fits a small tree of scikit-learn
to the Newton step, and goes a part of it. scikit-learn's own boosting knows a few losses of one
output only.

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
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clintune.core.seeding import derive_seed
from clintune.model.trees import DEPTH, MOST_TREES
from clintune.tasks.linear import LinearModel

if TYPE_CHECKING:
    from sklearn.tree import DecisionTreeRegressor

RATE = 0.05
MOST_ROUNDS = MOST_TREES // 2
_PATIENCE = 40
"""Rounds without a lesser loss after which no more are tried."""
LEAST_SUBJECTS = 20
"""Subjects that each leaf speaks of, at least: more than the 11 of whom anything may be told."""
PENALTY = 5.0
"""Samples of mean curvature without an opinion that each leaf is averaged with."""
FLOOR = 0.1
"""The least curvature, as a share of the mean squared gradient, which of a likelihood is its mean
curvature.
"""
_SHARE_OF_SUBJECTS = 0.6
_SHARE_OF_COLUMNS = 0.2
_LEAST_COLUMNS = 12
_TOGETHER = 0.5
"""The share of each expert where two answer together."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """What one linear model of a head answers: `outputs`, for the samples whose targets are `known`
    [N].

    `targets` and `weight` are of all samples; of the unknown ones nothing is read.
    """

    kind: LinearModel
    outputs: slice
    known: Tensor
    targets: Tensor
    weight: Tensor


@dataclass(frozen=True, kw_only=True)
class Fitting:
    """What trees are fitted to: columns [N, W] (NaN: missing), the parts of a head, and whose each
    sample is [N].
    """

    columns: NDArray[np.float32]
    parts: Sequence[Part]
    subject: NDArray[np.int64]

    def loss(self, outputs: Tensor, rows: Tensor) -> Tensor:
        """Return the weighted sum of losses of outputs [S, K], which are those of the samples
        `rows` [S].
        """
        total = outputs.sum() * 0.0
        for part in self.parts:
            known = part.known[rows]
            mine = rows[known]
            answers = outputs[known][:, part.outputs]
            total = total + part.kind.loss(answers, part.targets[mine], part.weight[mine])
        return total


class Tree(NamedTuple):
    """A fitted tree of scikit-learn, and how each of its nodes moves the outputs [nodes, K]."""

    model: "DecisionTreeRegressor"
    steps: NDArray[np.float64]

    def moves(self, columns: NDArray[np.float32]) -> Tensor:
        """Return how samples move [N, K]."""
        return torch.from_numpy(self.steps[self.model.apply(columns)])


class Boosted(NamedTuple):
    """The share of the linear outputs in the answer, the constant [K] and the tensors of `Trees`
    that add to it.
    """

    linear_share: float
    constant: Tensor
    trees: dict[str, Tensor]


def boost(fitting: Fitting, linear: Tensor, by_fold: Tensor, fold: Tensor, seed: int) -> Boosted:
    """Fit trees beside a linear model, as many as do best in the folds; none where they do not
    help.

    `linear` [N, K] are its outputs, `by_fold` [F, N, K] those of it fitted without each fold,
    `fold` [N] the fold of each sample, -1 where none of its targets is known.
    """
    rows = torch.nonzero(fold >= 0)[:, 0]
    constants = torch.stack(
        [constant(fitting, rows[fold[rows] != held_out]) for held_out in range(len(by_fold))]
    )
    corrected = _choose(fitting, by_fold, fold, derive_seed(seed, "corrected"))
    alone = _choose(
        fitting, constants[:, None].expand_as(by_fold), fold, derive_seed(seed, "alone")
    )
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
    """A number of rounds, the seed that drew them, and the outputs [N, K] of the folds that were
    held out.
    """

    rounds: int
    seed: int
    outputs: Tensor


def _choose(fitting: Fitting, starts: Tensor, fold: Tensor, seed: int) -> _Choice:
    """Boost from `starts` [F, N, K] without each fold in turn; take the number of rounds of the
    least held-out loss.
    """
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
    """Yield tree after tree, fitted to the samples `rows`, with the outputs of all samples [N, K]
    after it.
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
    """Draw some of the subjects of `rows` and one sample of each; return these, and for how many
    each stands.

    With one sample a subject, a leaf has as many subjects as samples.
    """
    shuffled = rows[random.permutation(len(rows))]
    _, first, counts = np.unique(subject[shuffled], return_index=True, return_counts=True)
    number = min(len(first), max(LEAST_SUBJECTS, round(_SHARE_OF_SUBJECTS * len(first))))
    drawn = random.permutation(len(first))[:number]
    return shuffled[first[drawn]], counts[drawn]


def newton(
    fitting: Fitting, outputs: Tensor, rows: Tensor, times: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return gradient and curvature [S, K] of the loss of `rows`, each taken so many `times`, by
    their outputs.

    The curvature of an output is the sum of its row of the Hessian, without signs: a diagonal of
    these is nowhere less than the Hessian, so that outputs that act alike do not go the same way
    twice. It has a floor, as a loss may be flat.
    """
    at = outputs[rows].requires_grad_()
    flat = 0.0 * at.pow(2).sum()  # of a loss of straight lines the gradient would be a constant
    (gradient,) = torch.autograd.grad(fitting.loss(at, rows) + flat, at, create_graph=True)
    curvature = torch.empty_like(at)
    for k in range(at.shape[1]):
        (row,) = torch.autograd.grad(gradient[:, k].sum(), at, retain_graph=True)
        curvature[:, k] = row.abs().sum(dim=1)

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
    """Fit a tree to minus the gradient over the curvature, weighted by the curvature; each leaf is
    a Newton step.

    A split weighs all outputs alike, by their mean curvature; a leaf has the own curvature of each,
    and the penalty.
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
    slopes, curvatures = (
        np.stack([np.bincount(leaf, column, size) for column in part.T], axis=1)
        for part in (gradient, curvature)
    )
    return Tree(model, -RATE * slopes / (curvatures + PENALTY * curvature.mean()))


def constant(fitting: Fitting, rows: Tensor) -> Tensor:
    """Return the constant outputs [K] that have the least loss for the samples `rows`, by L-BFGS
    from zero.
    """
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


def to_tensors(grown: Sequence[tuple[Tree, float]], num_outputs: int) -> dict[str, Tensor]:
    """Return the buffers of `Trees` that answer as these trees do, each taken by its share."""
    nodes, leaves = 2**DEPTH - 1, 2**DEPTH
    feature, threshold, missing_left = (
        np.zeros((MOST_TREES, nodes), kind) for kind in (np.int64, np.float32, np.bool_)
    )
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
    """Return the greatest float32 that is not above each threshold: a float32 column then stands on
    the same side.
    """
    near = threshold.astype(np.float32)
    return np.where(near > threshold, np.nextafter(near, np.float32(-np.inf)), near)
