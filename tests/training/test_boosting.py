"""Trees beside a probe equal a plain loop over scikit-learn's trees, and answer so in torch."""

from itertools import islice

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sklearn.ensemble import RandomForestRegressor
from sklearn.tree import DecisionTreeRegressor

from clintune.core.disclosure import SMALLEST_SHOWN
from clintune.core.errors import PackageError
from clintune.model.trees import DEPTH, Trees, tree_columns
from clintune.package.load import load_package
from clintune.package.manifest import write_manifest
from clintune.tasks.linear import YesNo
from clintune.tasks.regression import Regression
from clintune.tasks.survival import Survival
from clintune.training import boosting
from clintune.training.boosting import Fitting, Part, Tree
from clintune.training.linear_fit import fit_output
from clintune.training.probe_inputs import NUM_FOLDS
from conftest import evaluate, grow_trees, train


def part(kind, targets, outputs=1, known=None):
    targets = torch.from_numpy(targets).double()
    known = torch.ones(len(targets), dtype=torch.bool) if known is None else known
    weight = torch.ones(len(targets)).double()
    return Part(kind=kind, outputs=slice(0, outputs), known=known, targets=targets, weight=weight)


def columns_of(num, width, seed=0, missing=0.1):
    """Return columns [num, width] of normal draws, some of them missing."""
    draw = np.random.default_rng(seed)
    columns = draw.normal(size=(num, width)).astype(np.float32)
    columns[draw.random(columns.shape) < missing] = np.nan
    return columns


def crossed(num=600, seed=1):
    """Return columns [num, 4] without gaps, and whether just one of the first two is above zero."""
    columns = columns_of(num, 4, seed, missing=0)
    return columns, ((columns[:, 0] > 0) != (columns[:, 1] > 0)).astype(np.float64)


def fitting_of(columns, targets, kind=None, subject=None):
    subject = np.arange(len(columns)) if subject is None else subject
    return Fitting(columns=columns, parts=[part(kind or YesNo(), targets)], subject=subject)


def boosted(columns, targets, subject=None):
    """Return what trees and a linear model are fitted to, the linear model, and both together."""
    fitting = fitting_of(columns, targets, subject=subject)
    features = torch.from_numpy(np.nan_to_num(columns)).double()
    fold = torch.from_numpy(fitting.subject % NUM_FOLDS)
    found = fit_output(
        YesNo(),
        features,
        fitting.parts[0].targets,
        fitting.parts[0].weight,
        [range(columns.shape[1])],
        fold,
    )
    outputs = features @ found.weights.mT + found.bias[:, None]
    return fitting, outputs[0], boosting.boost(fitting, outputs[0], outputs[1:], fold, seed=3)


def answers(linear, result, columns):
    """Return the outputs [N, O] of a linear model and the trees beside it."""
    trees = Trees(linear.shape[1])
    trees.load_state_dict(result.trees)
    return result.linear_share * linear + result.constant + trees(torch.from_numpy(columns))


@pytest.mark.parametrize("depth", [1, DEPTH])
def test_tensors_answer_as_the_trees_of_sklearn(depth):
    columns, draw = columns_of(500, 7), np.random.default_rng(5)
    targets = np.nan_to_num(columns[:, :3]) + draw.normal(size=(500, 3)) / 2
    forest = RandomForestRegressor(
        40, max_depth=depth, min_samples_leaf=5, max_features=2, random_state=0
    ).fit(columns, targets)
    grown = [(Tree(model, model.tree_.value[..., 0]), 1 / 40) for model in forest.estimators_]
    trees = Trees(3)
    trees.load_state_dict(boosting.to_tensors(grown, 3))

    unseen = columns_of(300, 7, seed=8, missing=0.4)
    unseen[:40] = np.float32([tree.tree_.threshold[0] for tree in forest.estimators_])[:, None]
    np.testing.assert_allclose(
        trees(torch.from_numpy(unseen)).numpy(), forest.predict(unseen), atol=1e-6
    )


def test_rounds_are_those_of_a_plain_loop_over_sklearns_trees():
    columns, targets = crossed(200)
    fitting = fitting_of(columns, targets)
    rows, random = torch.arange(200), np.random.default_rng(4)
    logit = np.zeros(200)
    for tree, outputs in islice(
        boosting.boosting(fitting, torch.zeros(200, 1).double(), rows, 4), 8
    ):
        drawn, times = boosting.draw_subjects(fitting.subject, rows.numpy(), random)
        assert (times == 1).all()
        chance = 1 / (1 + np.exp(-logit[drawn]))
        gradient = chance - targets[drawn]
        curvature = np.maximum(chance * (1 - chance), boosting.FLOOR * (gradient**2).mean())
        reference = DecisionTreeRegressor(
            max_depth=DEPTH,
            min_samples_leaf=boosting.LEAST_SUBJECTS,
            max_features=4,
            random_state=int(random.integers(2**31)),
        ).fit(columns[drawn], -gradient / curvature, sample_weight=curvature)
        leaf = reference.apply(columns[drawn])
        for number in np.unique(leaf):
            here = leaf == number
            penalty = boosting.PENALTY * curvature.mean()
            step = -boosting.RATE * gradient[here].sum() / (curvature[here].sum() + penalty)
            logit[reference.apply(columns) == number] += step
        np.testing.assert_allclose(outputs[:, 0].numpy(), logit, atol=1e-9)
        assert tree.model.tree_.node_count == reference.tree_.node_count


def test_trees_learn_what_no_linear_model_can(monkeypatch):
    monkeypatch.setattr(boosting, "MOST_ROUNDS", 60)
    fitting, linear, result = boosted(*crossed())
    columns, targets = crossed(400, seed=2)
    found = answers(linear.mean().expand(400, 1), result, columns)[:, 0]
    right = ((found > 0).numpy() == (targets > 0)).mean()
    assert right > 0.9
    own = fitting.loss(answers(linear, result, fitting.columns), torch.arange(600))
    assert own < fitting.loss(linear, torch.arange(600)) / 2


def test_no_round_is_the_probe_exactly(monkeypatch):
    monkeypatch.setattr(boosting, "MOST_ROUNDS", 0)
    columns = columns_of(400, 3, missing=0)
    _, linear, result = boosted(columns, (columns[:, 0] > 0).astype(np.float64))
    assert result.linear_share == 1
    assert torch.equal(answers(linear, result, columns), linear)


def test_every_leaf_speaks_of_eleven_subjects_or_more():
    columns, targets = crossed(900)
    subject = np.arange(900) // 3
    subject[:300] = 0  # who has a third of all samples is still one person
    fitting = fitting_of(columns, targets, subject=subject)
    random, rows = np.random.default_rng(6), torch.arange(900)
    for tree, _ in islice(boosting.boosting(fitting, torch.zeros(900, 1).double(), rows, 6), 20):
        drawn, times = boosting.draw_subjects(subject, rows.numpy(), random)
        random.integers(2**31)
        assert times.tolist() == np.bincount(subject)[subject[drawn]].tolist()
        leaf = tree.model.apply(columns[drawn])
        for number in np.unique(leaf):
            assert len(np.unique(subject[drawn][leaf == number])) >= SMALLEST_SHOWN


def survival_data(num, seed):
    """Return columns and targets [num, 2]; hazard is fourfold where two columns agree in sign."""
    draw = np.random.default_rng(seed)
    columns = draw.normal(size=(num, 4)).astype(np.float32)
    hazard = np.where(columns[:, 0] * columns[:, 1] > 0, 4.0, 1.0) / 400
    event, end = draw.exponential(1 / hazard), draw.uniform(50, 600, num)
    return columns, np.stack([np.minimum(event, end) + 0.5, event <= end], axis=1)


def test_the_survival_loss_falls_for_people_who_were_not_fitted():
    columns, targets = survival_data(800, 0)
    task = Survival(label="x")
    task.fit(targets[:500].astype(np.float32))
    ((kind, _, outputs),) = task.linear_models(torch.from_numpy(targets))
    fitting = Fitting(
        columns=columns, parts=[part(kind, targets, outputs.stop)], subject=np.arange(800)
    )
    start = torch.zeros(800, outputs.stop).double()
    held_out = torch.arange(500, 800)
    runs = boosting.boosting(fitting, start, torch.arange(500), 0)
    losses = [float(fitting.loss(after[held_out], held_out)) for _, after in islice(runs, 60)]
    assert losses[-1] < float(fitting.loss(start[held_out], held_out)) - 15
    assert losses[-1] < losses[20] < losses[5]


@pytest.mark.parametrize("loss", ["gaussian", "quantile"])
def test_flat_losses_and_unknown_targets_give_finite_steps(loss):
    columns = columns_of(300, 3)
    values = 40 + 9 * np.abs(np.nan_to_num(columns[:, :1])).astype(np.float64)
    values[::7] = np.nan
    task = Regression(label="x", loss=loss)
    task.fit(values.astype(np.float32))
    ((kind, _, outputs),) = task.linear_models(torch.from_numpy(values))
    known = torch.from_numpy(~np.isnan(values[:, 0]))
    fitting = Fitting(
        columns=columns,
        parts=[part(kind, values, outputs.stop, known)],
        subject=np.arange(300),
    )
    rows = torch.nonzero(known)[:, 0]
    start = boosting.constant(fitting, rows).expand(300, -1)
    *_, (_, last) = islice(boosting.boosting(fitting, start, rows, 0), 40)
    assert last.isfinite().all()
    assert fitting.loss(last[rows], rows) < 0.9 * fitting.loss(start[rows], rows)


def test_columns_of_a_modality_that_a_sample_lacks_are_missing():
    pooled = {"a": torch.tensor([[1.0, 0.0], [0.0, 0.0]])}
    found = tree_columns(pooled, {"a": 2, "b": 1}, torch.zeros(2, 5))
    nan = float("nan")
    torch.testing.assert_close(
        found, torch.tensor([[1.0, 0.0, nan], [nan, nan, nan]]), equal_nan=True
    )


def test_members_share_trees_and_a_backbone_trains_beside_them(recipe, monkeypatch):
    grow_trees(monkeypatch)
    run = train(recipe(), "model.readout=boosted", "trainer.max_steps=2", "ensemble=2")
    evaluate(run)
    first, second = (
        load_package(run / "package" / f"member-{number}").model.task_heads["outcome"]
        for number in range(2)
    )
    assert first.trees.value.any()
    assert torch.equal(first.trees.value, second.trees.value)
    assert not torch.equal(first.of_query.weight, second.of_query.weight)


def test_a_tree_that_reads_a_feature_there_is_not_is_refused(recipe, monkeypatch):
    grow_trees(monkeypatch)
    run = train(recipe(), "model.readout=boosted", "trainer.max_steps=0")
    path = run / "package" / "parts.safetensors"
    tensors = load_file(path)
    tensors["heads.outcome.trees.feature"][0, 0] = 10**6
    save_file(tensors, path)
    write_manifest(run / "package")
    with pytest.raises(PackageError, match="a tree of outcome reads a feature that there is not"):
        load_package(run / "package")
